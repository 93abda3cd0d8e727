"""How long a small experiment takes behind a huge one, and how long alone.

    python benchmarks/sharing.py [--workers 2] [--huge 100000] [--small 20] [--sleep-s 0 1] [--repeat 7]

Both have the same trials, no-ops or sleeps, and the same class and priority. Measured through a real queue with real
workers: from the submission of the small one to its first result and to its last, alone and in the midst of the huge
one, in turns; medians. What a newcomer costs: trials finished per second, whosever, in seconds without one and with.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from optml_queue.broker import queue_name  # noqa: E402
from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

OBSERVED_S = 2.0


@dataclass(frozen=True, slots=True)
class Course:
    """Seconds from a small experiment's submission to its first result and to its last."""

    first_s: float
    last_s: float


def grid(trials: int, sleep_s: float) -> str:
    """Parameters of so many trials."""
    return f"  value: {{min: 1, max: {trials}, step: 1}}\n  sleep_s: {{value: {sleep_s}}}"


def small_one(workers: Cluster, trials: int, sleep_s: float) -> Course:
    """Run a small experiment; times are the store's."""
    experiment = workers.submit(grid(trials, sleep_s))
    workers.end(experiment, limit_s=600)
    ended = [trial.finished_at for trial in workers.trials(experiment) if trial.finished_at is not None]
    submitted = workers.store.experiment(experiment).created_at
    return Course(min(ended) - submitted, max(ended) - submitted)


def row(workers: Cluster, huge: int, small: int, sleep_s: float, repeat: int) -> str:
    """A table's row: medians alone, and in company."""
    small_one(workers, small, sleep_s)  # a warm start for all
    lone, shared, alone_per_s, together_per_s = [], [], [], []
    for _ in range(repeat):
        lone.append(small_one(workers, small, sleep_s))
        company = workers.submit(grid(huge, sleep_s))
        time.sleep(max(3.0, 3 * sleep_s))  # it is in full swing
        begun, before = time.monotonic(), workers.store.experiment(company).finished
        time.sleep(OBSERVED_S)
        alone_per_s.append((workers.store.experiment(company).finished - before) / (time.monotonic() - begun))
        begun, before = time.monotonic(), workers.store.experiment(company).finished
        shared.append(small_one(workers, small, sleep_s))
        time.sleep(max(0.0, begun + OBSERVED_S - time.monotonic()))
        together = workers.store.experiment(company).finished - before + small
        together_per_s.append(together / (time.monotonic() - begun))
        workers.store.cancel(company)
        workers.end(company, limit_s=60)
        # What was published of it is declined, message by message.
        workers.until(lambda: not workers.store.client.llen(queue_name("default")), "empty queue")
    times = [median(each.last_s for each in courses) for courses in (lone, shared)]
    return (
        f"| {sleep_s:g} | {_first(lone)} | {times[0]:.3f} | {_first(shared)} | {times[1]:.3f} "
        f"| {times[1] / times[0]:.2f} ({_ratios(lone, shared)}) "
        f"| {median(alone_per_s):,.1f} | {median(together_per_s):,.1f} |"
    )


def _first(courses: Sequence[Course]) -> str:
    return f"{median(each.first_s for each in courses):.3f}"


def _ratios(lone: Sequence[Course], shared: Sequence[Course]) -> str:
    """The best and the worst of the pairs."""
    ratios = sorted(there.last_s / here.last_s for here, there in zip(lone, shared, strict=True))
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--huge", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=20)
    parser.add_argument("--sleep-s", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    print(
        "| a trial sleeps s | alone: first s | last s | shared: first s | last s | × alone "
        "| trials/s, the huge one alone | with the small one |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with (
        valkey_server() as server,
        TemporaryDirectory() as name,
        cluster({"OPTML_BROKER_URL": server.url}, Path(name), options.workers) as workers,
    ):
        for sleep_s in options.sleep_s:
            print(row(workers, options.huge, options.small, sleep_s, options.repeat), flush=True)


if __name__ == "__main__":
    main()
