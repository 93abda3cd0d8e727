"""The long fault runs (`make soak`). SOAK_TRIALS and SOAK_SEED make them shorter, or others."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from optml_queue.store import Experiment
from tests.cluster import Cluster, cluster
from tests.faults.havoc import Havoc
from tests.faults.verdict import QUEUE, assert_queue_empties, assert_undisturbed, serial_results
from tests.sqs_installation import SqsQueue, sqs_installation
from tests.valkey_server import valkey_server

Capture = pytest.CaptureFixture[str]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

TRIALS = int(os.environ.get("SOAK_TRIALS", "10000"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
WORKERS = 8  # they sleep: two cores are enough for them
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.5", "OPTML_VISIBILITY_S": "2", "OPTML_GRACE_S": "2"}
# A trial may be lost again and again here, and none may fail of it.
RETRY = "retry: {max_attempts: 100, on: [lost]}"
SEARCHES = {
    "grid": (f"  value: {{min: 0.5, max: 5000.0, count: {TRIALS}}}\n  sleep_s: {{value: SLEEP}}", RETRY),
    "random": (
        "  value: {min: -1.0, max: 1.0}\n  sleep_s: {value: SLEEP}",
        f"{RETRY}\nmax_trials: {TRIALS}\nseed: {SEED}",
    ),
}


def tell(capsys: Capture, text: str) -> None:
    """Show a passing test's report too."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def account(workers: Cluster, found: Experiment, took_s: float) -> str:
    """What the trials went through, by the store's own records."""
    trials = workers.trials(found.id)
    again = [trial.number for trial in trials if trial.attempts > 1]
    reasons = Counter(attempt.reason for number in again for attempt in workers.store.attempts(found.id, number))
    attempts = sum(trial.attempts for trial in trials)
    ends = ", ".join(f"{reason} {times}" for reason, times in reasons.most_common()) or "none"
    return (
        f"{len(trials):,} trials in {took_s:.0f} s: {found.terminal:,} terminal, 0 twice, 0 lost\n"
        f"{attempts:,} attempts, {attempts - len(trials):,} extra; without a result: {ends}\n"
        f"{found.recovered:,} messages taken for lost and published again"
    )


@pytest.mark.parametrize("method", SEARCHES)
def test_thousands_of_trials_under_random_faults(method: str, tmp_path: Path, capsys: Capture) -> None:
    parameters, more = SEARCHES[method]
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path, WORKERS) as workers:
        serial = serial_results(workers.spec(parameters.replace("SLEEP", "0.0"), more, method=method))
        assert len(serial) == TRIALS
        began = time.monotonic()
        experiment = workers.submit_spec(workers.spec(parameters.replace("SLEEP", "0.1"), more, method=method))
        workers.until(lambda: workers.store.experiment(experiment).finished > 0, "first trial")
        havoc = Havoc(workers, server, SEED)
        havoc.wreak(experiment)
        found = assert_undisturbed(workers, experiment, serial)
        assert_queue_empties(workers, workers.store.client)
        took_s = time.monotonic() - began
        tell(capsys, f"{method}, seed {SEED}: {account(workers, found, took_s)}\n{havoc.report()}")
        assert workers.stop() == 0


def test_a_broker_killed_twenty_times_in_a_row_loses_no_worker(tmp_path: Path, capsys: Capture) -> None:
    size = 1_000
    parameters = f"  value: {{min: 0.5, max: 500.0, count: {size}}}\n  sleep_s: {{value: SLEEP}}"
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path, 4) as workers:
        serial = serial_results(workers.spec(parameters.replace("SLEEP", "0.0"), RETRY))
        mains = workers.mains()
        began = time.monotonic()
        experiment = workers.submit(parameters.replace("SLEEP", "0.1"), RETRY)
        havoc = Havoc(workers, server, SEED)
        for _ in range(20):
            havoc.once(havoc.kill_the_server, experiment)
        found = assert_undisturbed(workers, experiment, serial)
        assert_queue_empties(workers, workers.store.client)
        workers.until(lambda: workers.mains() == mains, "the same workers, all of them")
        tell(capsys, f"{account(workers, found, time.monotonic() - began)}\n{havoc.report()}")


SIZE = 1_200
VALUES = f"  value: {{min: 0.5, max: 600.0, count: {SIZE}}}"


def lose(workers: Cluster, waiting: Callable[[], int], delete: Callable[[], object], capsys: Capture) -> None:
    """Delete a thousand messages at once; all are published again, and hardly one more."""
    serial = serial_results(workers.spec(VALUES))
    with workers.kept_busy():
        for number in range(SIZE):
            # The window is as wide as the workers are many.
            workers.store.worker_beat(f"far-{number}", {"class": "default", "pid": 0}, ttl_s=120)
        experiment = workers.submit(VALUES)
        workers.until(lambda: waiting() >= SIZE, "messages", limit_s=120)
        lost = waiting()
        delete()
        assert waiting() == 0
        for number in range(SIZE):
            workers.store.worker_gone(f"far-{number}", "default")
    began = time.monotonic()
    workers.end(experiment, limit_s=240)
    found = assert_undisturbed(workers, experiment, serial)
    assert 1_000 <= lost <= found.recovered <= 1.1 * lost
    took_s = time.monotonic() - began
    tell(capsys, f"{lost:,} messages deleted, {found.recovered:,} published again, all over after {took_s:.0f} s")


def test_a_thousand_messages_that_vanish_from_valkey_are_published_again(tmp_path: Path, capsys: Capture) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        client = workers.store.client
        lose(workers, lambda: int(client.llen(QUEUE)), lambda: client.delete(QUEUE), capsys)


def test_a_thousand_messages_that_vanish_from_sqs_are_published_again(tmp_path: Path, capsys: Capture) -> None:
    with sqs_installation(**TIMES) as environment:
        queue = SqsQueue(environment)
        with cluster(environment, tmp_path) as workers:
            lose(workers, queue.waiting, queue.purge, capsys)


def test_a_broker_that_is_away_for_half_a_minute_loses_no_worker(tmp_path: Path) -> None:
    parameters = "  value: {min: 0.5, max: 50.0, count: 100}\n  sleep_s: {value: SLEEP}"
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path, 4) as workers:
        serial = serial_results(workers.spec(parameters.replace("SLEEP", "0.0"), RETRY))
        mains = workers.mains()
        experiment = workers.submit(parameters.replace("SLEEP", "0.1"), RETRY)
        workers.until(lambda: workers.store.experiment(experiment).finished > 10, "progress")
        server.kill()
        time.sleep(30)
        server.start()
        assert_undisturbed(workers, experiment, serial)
        assert_queue_empties(workers, workers.store.client)
        workers.until(lambda: workers.mains() == mains, "the same workers, all of them")
