"""How long a trial is nobody's after its worker was killed, with the settings that workers have by default.

    python benchmarks/recovery.py [--times 5] [--sqs] [--sleep-s 120]

Starts a server of its own (with --sqs moto's, as broker), two workers, and kills the main process of one of them in
the midst of a trial, again and again. Prints for each kill the seconds until the next attempt begins, and how often a
trial of --sleep-s seconds ran that nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from tests.cluster import Cluster, cluster  # noqa: E402
from tests.moto_server import aws_settings, moto_server  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402


@contextmanager
def environment(*, sqs: bool) -> Iterator[Mapping[str, str]]:
    """Servers, and what workers need to know of them."""
    with valkey_server() as server:
        if not sqs:
            yield {"OPTML_BROKER_URL": server.url}
            return
        with moto_server() as endpoint:
            address = endpoint.removeprefix("http://")
            yield {
                "OPTML_BROKER_URL": f"sqs://testing:testing-secret@{address}//",
                "OPTML_STORE_URL": server.url,
                **aws_settings(endpoint),
            }


def recovery_s(workers: Cluster, marks: Path) -> float:
    """Kill a worker amid a trial; the seconds until the trial's next attempt began."""
    marks.mkdir()
    experiment = workers.submit(f"  sleep_s: {{value: 3.0}}\n  marks: {{value: {marks}}}")
    workers.marked(marks, "0.1")
    workers.until(lambda: workers.trials(experiment)[0].worker in workers.mains(), "the worker's beat")
    os.kill(workers.mains()[workers.trials(experiment)[0].worker], signal.SIGKILL)
    began = time.monotonic()
    workers.marked(marks, "0.2")
    took_s = time.monotonic() - began
    workers.end(experiment)
    workers.until(lambda: len(workers.mains()) == 2, "replacement")
    return took_s


def attempts_of_long_trial(workers: Cluster, sleep_s: float) -> int:
    """How often a long trial ran, in a sleep that never looks up."""
    experiment = workers.submit(f"  sleep_s: {{value: {sleep_s}}}")
    workers.end(experiment, sleep_s + 60)
    (trial,) = workers.trials(experiment)
    return trial.attempts


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--sqs", action="store_true", help="messages through moto's SQS")
    parser.add_argument("--sleep-s", type=float, default=120.0, help="of the undisturbed trial; 0 leaves it out")
    options = parser.parse_args()
    with environment(sqs=options.sqs) as servers, TemporaryDirectory() as name, cluster(servers, Path(name)) as workers:
        took_s = sorted(recovery_s(workers, Path(name) / f"marks-{number}") for number in range(options.times))
        best_s, median_s, worst_s = took_s[0], took_s[len(took_s) // 2], took_s[-1]
        print(f"broker: {'SQS (moto)' if options.sqs else 'Valkey'}; {len(took_s)} kills")
        print(f"next attempt after {best_s:.1f} s at best, {median_s:.1f} s median, {worst_s:.1f} s at worst")
        if options.sleep_s:
            print(f"a trial of {options.sleep_s:g} s ran {attempts_of_long_trial(workers, options.sleep_s)} time(s)")


if __name__ == "__main__":
    main()
