"""What early stopping loses, and what it saves: the grid of examples/ann-digits.yaml whole, and under ASHA.

    python benchmarks/early_stopping.py [--seeds 10] [--workers 2] [--rule "{method: asha, ...}"]

Starts a server of its own and real workers, which train once before anything is measured. For each seed, both
experiments run one after the other over the same points and the same two seeds of weights. Prints the fewest test
images that a complete trial takes for another digit, and the worker time, the sum of what all attempts took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from optml_queue.spec import load_spec  # noqa: E402
from optml_queue.trial import TrialState  # noqa: E402
from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

SPEC = ROOT / "examples" / "ann-digits.yaml"
TEST_IMAGES = 360
RULE = "{method: asha, min_steps: 1, reduction: 3, max_steps: 20}"
LIMIT_S = 1_800.0


@dataclass(frozen=True, slots=True)
class Run:
    """One experiment: the best trial's misclassified images, worker seconds, and how trials ended."""

    wrong: int
    worker_s: float
    complete: int
    stopped: int


def run(workers: Cluster, seed: int, *overrides: str) -> Run:
    """Run the grid with two seeds of weights of its own."""
    spec = load_spec(SPEC, [f"seeds=[{2 * seed}, {2 * seed + 1}]", *overrides])
    id_ = workers.submit_spec(spec)
    ended = workers.end(id_, LIMIT_S)
    (best,) = workers.store.best(id_)
    wrong = round(best.metrics["error_rate"] * TEST_IMAGES)
    counts = ended.counts
    return Run(wrong, ended.worker_s, counts[TrialState.COMPLETE], counts[TrialState.STOPPED_EARLY])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rule", default=RULE)
    given = parser.parse_args()
    lost, shares = [], []
    with (
        TemporaryDirectory() as folder,
        valkey_server() as server,
        cluster({"OPTML_BROKER_URL": server.url}, Path(folder), given.workers) as workers,
    ):
        run(workers, 1_000, "parameters.epochs.value=1")
        print("| seed | best of the grid | best under the rule | complete, stopped | worker time | of the grid's |")
        print("|---|---|---|---|---|---|", flush=True)
        for seed in range(given.seeds):
            grid, ruled = run(workers, seed), run(workers, seed, f"early_stopping={given.rule}")
            lost.append(ruled.wrong - grid.wrong)
            shares.append(ruled.worker_s / grid.worker_s)
            ends = f"{ruled.complete}, {ruled.stopped}"
            times = f"{ruled.worker_s:.1f} s of {grid.worker_s:.1f} s | {shares[-1]:.0%}"
            print(f"| {seed} | {grid.wrong} | {ruled.wrong} | {ends} | {times} |", flush=True)
    print(f"\nmedian: {statistics.median(lost):+g} misclassified images of {TEST_IMAGES}, ", end="")
    print(f"{statistics.median(shares):.0%} of the worker time")


if __name__ == "__main__":
    main()
