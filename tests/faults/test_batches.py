"""Workers that die with several trials of one message in hand: nothing is lost, and none of the others is blamed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.faults.times import TIMES
from tests.faults.verdict import assert_queue_empties, assert_undisturbed, serial_results
from tests.processes import children_of
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.faults

BATCH = "batch: auto"


def grid(size: int) -> str:
    return f"  value: {{min: 1, max: {size}, step: 1}}"


def share_messages(workers: Cluster, experiment: str) -> None:
    """Let the experiment be known for short trials, and wait until some have run that shared messages.

    The machine that runs the tests may be too busy to find out by itself.
    """
    key = f"optml:x:{experiment}"
    workers.store.client.hset(key, mapping={"run_ms": "0.5", "rate_at": "9999999999999"})
    workers.until(lambda: int(workers.store.client.hget(key, "carried") or 1) > 10, "shared messages")
    workers.until(lambda: workers.store.experiment(experiment).finished > 250, "trials of shared messages")


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_a_death_in_their_midst_is_nobody_s_failure(workers: Cluster, victim: str) -> None:
    serial = serial_results(workers.spec(grid(1_200)))
    experiment = workers.submit(grid(1_200), f"{BATCH}\nretry: {{max_attempts: 1}}")
    share_messages(workers, experiment)
    main = next(iter(workers.mains().values()))
    assert not workers.store.experiment(experiment).is_over
    os.kill(main if victim == "worker" else children_of(main)[0], signal.SIGKILL)
    assert_undisturbed(workers, experiment, serial)
    assert_queue_empties(workers, workers.store.client)
    again = [trial for trial in workers.trials(experiment) if trial.attempts > 1]
    assert {trial.attempts for trial in again} <= {2}
    assert len(again) <= 100  # what had begun together, and not what the message carried
    workers.until(lambda: len(workers.mains()) == 2, "another worker")


def test_only_the_one_that_kills_its_process_fails(workers: Cluster) -> None:
    lines = f"{grid(1_000)}\n  dies_of: {{value: {int(signal.SIGSEGV)}, when: value == 700}}\n  deaths: {{value: 9}}"
    experiment = workers.submit(lines, f"{BATCH}\nretry: {{max_attempts: 2}}")
    share_messages(workers, experiment)
    found = workers.end(experiment)
    assert (found.counts[TrialState.COMPLETE], found.counts[TrialState.FAILED]) == (999, 1)
    (failed,) = workers.store.page(experiment, TrialState.FAILED)
    attempts = workers.store.attempts(experiment, failed.number)
    assert failed.params["value"] == 700
    assert [attempt.reason for attempt in attempts] == ["crashed"] * 2


def test_a_worker_that_is_told_to_end_hands_back_what_it_did_not_run(server: ValkeyServer, tmp_path: Path) -> None:
    environment = {"OPTML_BROKER_URL": f"{server.url[:-1]}1", **TIMES}
    with cluster(environment, tmp_path, 2) as workers:
        serial = serial_results(workers.spec(grid(1_200)))
        experiment = workers.submit(grid(1_200), BATCH)
        share_messages(workers, experiment)
        assert workers.stop() == 0
        found = workers.store.experiment(experiment)
        assert found.counts[TrialState.RUNNING] == 0
        workers.start()
        assert_undisturbed(workers, experiment, serial)
        assert not [trial for trial in workers.trials(experiment) if trial.attempts > 2]
