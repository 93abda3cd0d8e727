"""How near unequal trials come to the shortest time in which N workers can run them, and how near in order of number.

    python benchmarks/makespan.py [--workers 8] [--median-s 0.25] [--spread 1.0]

Trials only sleep, so that many workers fit on few cores: log-normal durations, their median and the standard deviation
of their logarithm given, and durations by the size of a network of two layers. The same trials run three times through
a real queue with real workers: by an algorithm that declares its cost, by one that does not, so that the queue learns
from the trials that ended, and in the order of numbers (an experiment with a budget, here one that is never spent,
keeps it). No schedule takes less than max(longest, total / workers).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

COST = """

def cost(params, rows):
    return params["sleep_s"]
"""
IN_ORDER = "budget: {trials: 1000000}"
SIZES = tuple(range(32, 512, 34))
SECONDS_PER_WEIGHT = 8e-6


def bound_s(durations_s: Sequence[float], workers: int) -> float:
    """No schedule is shorter."""
    return max(max(durations_s), sum(durations_s) / workers)


def log_normal(trials: int, median_s: float, spread: float) -> list[float]:
    """Durations of trials in the order of their numbers, the same ones each time."""
    chance = random.Random(trials)
    return [round(median_s * chance.lognormvariate(0.0, spread), 9) for _ in range(trials)]


def by_network_size(trials: int) -> list[float]:
    """Seconds in proportion to the weights between two hidden layers, smallest first as in a grid."""
    weights = [first * second for first, second in product(SIZES, SIZES)][:: max(1, len(SIZES) ** 2 // trials)]
    return [round(SECONDS_PER_WEIGHT * each + index * 1e-5, 5) for index, each in enumerate(weights[:trials])]


def makespan_s(workers: Cluster, durations_s: Sequence[float], name: str, more: str = "") -> float:
    """From the first begin to the last end of the trials."""
    values = ", ".join(map(str, durations_s))
    experiment = workers.submit(f"  sleep_s: {{values: [{values}]}}", more, name=name)
    workers.end(experiment, limit_s=600)
    trials = workers.trials(experiment)
    begun = [trial.started_at for trial in trials if trial.started_at is not None]
    ended = [trial.finished_at for trial in trials if trial.finished_at is not None]
    return max(ended) - min(begun)


def rows(workers: int, cases: Sequence[tuple[str, list[float]]]) -> Iterator[str]:
    """A table's row for each case."""
    with (
        valkey_server() as server,
        TemporaryDirectory() as name,
        cluster({"OPTML_BROKER_URL": server.url}, Path(name), workers) as crew,
    ):
        driver = crew.algorithm / "driver.py"
        fifo = driver.read_text()
        for case, durations_s in cases:
            bound = bound_s(durations_s, workers)
            driver.write_text(fifo)
            in_order = makespan_s(crew, durations_s, "in-order", IN_ORDER)
            learned = makespan_s(crew, durations_s, "learned")
            driver.write_text(fifo + COST)
            longest_first = makespan_s(crew, durations_s, "longest-first")
            yield (
                f"| {case} | {len(durations_s)} | {workers} | {bound:.2f} "
                f"| {longest_first:.2f} ({longest_first / bound - 1:+.1%}) "
                f"| {learned:.2f} ({learned / bound - 1:+.1%}) "
                f"| {in_order:.2f} ({in_order / bound - 1:+.1%}) |"
            )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--median-s", type=float, default=0.25)
    parser.add_argument("--spread", type=float, default=1.0)
    options = parser.parse_args()
    cases = [
        (f"log-normal, {options.spread:g}", log_normal(trials, options.median_s, options.spread))
        for trials in (20, 200)
    ]
    cases += [("network size", by_network_size(trials)) for trials in (20, 200)]
    print("| durations | trials | workers | lower bound s | cost declared s | learned s | in order of number s |")
    print("|---|---|---|---|---|---|---|")
    for row in rows(options.workers, cases):
        print(row, flush=True)


if __name__ == "__main__":
    main()
