"""What must be true of an experiment however it was disturbed."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from optml_queue.archive import open_archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.broker import queue_name
from optml_queue.runner import run_serial
from optml_queue.spec import Spec
from optml_queue.store import Experiment
from optml_queue.trial import TERMINAL_STATES, TrialResult
from tests.cluster import Cluster

QUEUE = queue_name("default")


def serial_results(spec: Spec) -> dict[int, TrialResult]:
    """What a run without queue and workers finds."""
    return dict(run_serial(spec))


def assert_undisturbed(workers: Cluster, experiment: str, serial: Mapping[int, TrialResult]) -> Experiment:
    """Wait for the end; every trial ended once, with the serial run's result, and nothing is left anywhere."""
    found = workers.end(experiment)
    store, trials = workers.store, workers.trials(experiment)
    assert {trial.number: trial.state for trial in trials} == {number: each.state for number, each in serial.items()}
    # repr: to the last bit, and nan equals nan
    assert {t.number: repr(t.metrics) for t in trials} == {n: repr(dict(r.metrics)) for n, r in serial.items()}
    ended = [trial.number for trial in store.finished(experiment, 0, found.finished)]
    assert sorted(ended) == sorted(serial), "a trial ended twice, or never"
    assert sum(found.counts[state] for state in TERMINAL_STATES) == found.created == len(serial)
    for trial in trials:
        fruitless = [attempt.attempt for attempt in store.attempts(experiment, trial.number)]
        assert trial.attempts > 0
        # The last attempt has the result, unless one that was taken for lost brought it after all.
        assert fruitless in (list(range(1, trial.attempts)), list(range(1, trial.attempts + 1)))
    assert not [lease for lease in store.client.zrange("optml:leases", 0, -1) if lease.startswith(f"{experiment}|")]
    assert_archived(workers, experiment)
    return found


def assert_archived(workers: Cluster, experiment: str) -> None:
    """Wait for the archive; it says what the store says."""
    workers.until(lambda: workers.store.experiment(experiment).is_consolidated, "archive")
    source = ArchiveSource(open_archive(workers.archive_url))
    trials = workers.trials(experiment)
    assert list(map(repr, source.stream(experiment))) == list(map(repr, trials))
    assert source.experiment(experiment).counts == workers.store.experiment(experiment).counts
    for trial in trials:
        if trial.attempts > 1:
            assert source.attempts(experiment, trial.number) == workers.store.attempts(experiment, trial.number)


def assert_queue_empties(workers: Cluster, broker: redis.Redis) -> None:
    """Wait until no message waits."""
    workers.until(lambda: broker.llen(QUEUE) == 0, "empty queue")
