"""How long a small experiment takes behind a huge one, and how long alone.

    python benchmarks/sharing.py [--workers 2] [--huge 100000] [--small 20] [--sleep-s 0 1]

Both have the same trials, no-ops or sleeps, and the same class and priority. Measured through a real queue with real
workers: from the submission of the small one to its first result and to its last, once alone and once in the midst of
the huge one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402


def grid(trials: int, sleep_s: float) -> str:
    """Parameters of so many trials."""
    return f"  value: {{min: 1, max: {trials}, step: 1}}\n  sleep_s: {{value: {sleep_s}}}"


def first_and_last_s(workers: Cluster, trials: int, sleep_s: float) -> tuple[float, float]:
    """Seconds from the submission to the first result, and to the last, by the store's clock."""
    experiment = workers.submit(grid(trials, sleep_s))
    workers.end(experiment, limit_s=600)
    ended = [trial.finished_at for trial in workers.trials(experiment) if trial.finished_at is not None]
    submitted = workers.store.experiment(experiment).created_at
    return min(ended) - submitted, max(ended) - submitted


def row(workers: Cluster, huge: int, small: int, sleep_s: float) -> str:
    """A table's row: alone, and in company."""
    first_and_last_s(workers, small, sleep_s)  # a warm start for both
    lone = first_and_last_s(workers, small, sleep_s)
    company = workers.submit(grid(huge, sleep_s))
    time.sleep(max(3.0, 3 * sleep_s))  # it is in full swing
    before = workers.store.experiment(company).finished
    shared = first_and_last_s(workers, small, sleep_s)
    found = workers.store.experiment(company)
    workers.store.cancel(company)
    workers.end(company, limit_s=60)
    return (
        f"| {sleep_s:g} | {lone[0]:.2f} | {lone[1]:.2f} | {shared[0]:.2f} | {shared[1]:.2f} "
        f"| {shared[1] / lone[1]:.2f} | {before}, {found.finished} |"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--huge", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=20)
    parser.add_argument("--sleep-s", type=float, nargs="+", default=[0.0, 1.0])
    options = parser.parse_args()
    print("| a trial sleeps s | alone: first s | last s | shared: first s | last s | × alone | of the huge one |")
    print("|---|---|---|---|---|---|---|")
    with (
        valkey_server() as server,
        TemporaryDirectory() as name,
        cluster({"OPTML_BROKER_URL": server.url}, Path(name), options.workers) as workers,
    ):
        for sleep_s in options.sleep_s:
            print(row(workers, options.huge, options.small, sleep_s), flush=True)


if __name__ == "__main__":
    main()
