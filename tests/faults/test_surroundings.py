"""What surrounds a trial fails or lies: the disk, the memory, its worker, the clock, whoever ends the workers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optml_queue.store import ExperimentState
from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.faults.times import TIMES
from tests.faults.verdict import assert_archived, assert_queue_empties, assert_undisturbed, serial_results
from tests.processes import children_of
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.faults

PATIENT = {**TIMES, "OPTML_GRACE_S": "30"}
HOURS_S = 5 * 3600.0


@pytest.fixture(scope="module")
def workers(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster({"OPTML_BROKER_URL": server.url, **PATIENT}, tmp_path_factory.mktemp("workers")) as running:
        yield running


@pytest.fixture
def other(server: ValkeyServer) -> str:
    """A database of the same server that the workers above know nothing of."""
    return f"{server.url[:-1]}1"


def values(size: int) -> str:
    return f"  value: {{values: [{', '.join(f'{number}.5' for number in range(size))}]}}\n"


def test_a_full_disk_fails_the_trial_with_its_reason_and_not_the_worker(workers: Cluster) -> None:
    mains = workers.mains()
    experiment = workers.submit('  mischief: {values: ["fill the disk", "write too much", ""]}')
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    full, big, well = workers.trials(experiment)
    assert (full.state, full.reason, full.attempts) == (TrialState.FAILED, "error", 1)
    assert "No space left on device" in full.error
    assert (big.state, big.reason, big.attempts) == (TrialState.FAILED, "error", 1)
    assert "File too large" in big.error
    assert well.state is TrialState.COMPLETE
    assert_archived(workers, experiment)
    assert workers.mains() == mains
    assert not list((workers.folder / "cache").rglob("big")), "the failed trial's scratch folder is gone"


def test_a_trial_that_wants_too_much_memory_fails_for_that_and_its_process_goes_on(workers: Cluster) -> None:
    family = {main: children_of(main) for main in workers.mains().values()}
    more = "retry: {max_attempts: 2, on: [out_of_memory]}"
    experiment = workers.submit('  mischief: {values: ["want too much memory", ""]}', more)
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    greedy, well = workers.trials(experiment)
    assert (greedy.state, greedy.reason, greedy.attempts) == (TrialState.FAILED, "out_of_memory", 2)
    assert [attempt.reason for attempt in workers.store.attempts(experiment, 0)] == ["out_of_memory"] * 2
    assert well.state is TrialState.COMPLETE
    assert {main: children_of(main) for main in workers.mains().values()} == family


def test_a_trial_that_kills_its_workers_main_process_is_given_up_and_the_others_end(workers: Cluster) -> None:
    experiment = workers.submit(
        values(8) + '  mischief: {values: ["", "kill the worker"]}',
        "exclude: [\"mischief == 'kill the worker' and value > 1\"]",
    )
    workers.end(experiment)
    trials = workers.trials(experiment)
    (poison,) = (trial for trial in trials if trial.params["mischief"])
    assert (poison.state, poison.reason, poison.attempts) == (TrialState.FAILED, "lost", 3)
    assert [trial.state for trial in trials if trial is not poison] == [TrialState.COMPLETE] * 8
    assert_archived(workers, experiment)
    assert_queue_empties(workers, workers.store.client)
    workers.until(lambda: len(workers.mains()) == 2, "replacement")


@pytest.mark.soak
def test_workers_whose_clocks_are_hours_apart_lose_and_repeat_nothing(other: str, tmp_path: Path) -> None:
    began_at = time.time()
    (tmp_path / "ahead").mkdir()
    (tmp_path / "behind").mkdir()
    environment = {"OPTML_BROKER_URL": other, **PATIENT, "OPTML_ARCHIVE_URL": str(tmp_path / "archive")}
    ahead = {**environment, "CLOCK_WRONG_BY_S": str(HOURS_S)}
    behind = {**environment, "CLOCK_WRONG_BY_S": str(-HOURS_S)}
    with cluster(ahead, tmp_path / "ahead", 1) as first, cluster(behind, tmp_path / "behind", 1) as second:
        serial = serial_results(first.spec(values(20)))
        experiment = first.submit(values(20) + "  sleep_s: {value: 0.1}")
        # Longer than lease and visibility, one on each: beats keep them, whatever the clocks say.
        long = first.submit(
            f"  value: {{values: [1.0, 2.0]}}\n  sleep_s: {{value: 2.5}}\n  marks: {{value: {tmp_path}}}"
        )
        assert_undisturbed(first, experiment, serial)
        first.end(long)
        trials = [*first.trials(experiment), *first.trials(long)]
        assert {trial.attempts for trial in trials} == {1}
        assert {trial.worker for trial in trials} == {*first.mains(), *second.mains()} & {t.worker for t in trials}
        assert all(0 < (trial.run_s or 0) < 10 for trial in trials)
        assert all(began_at - 1 < (trial.queued_at or 0) <= (trial.started_at or 0) for trial in trials)
        assert all((trial.finished_at or 0) <= time.time() + 1 for trial in trials)
        assert_queue_empties(first, first.store.client)


@pytest.mark.soak
def test_ctrl_c_twice_amid_begins_and_ends_hands_back_and_loses_nothing(other: str, tmp_path: Path) -> None:
    with cluster({"OPTML_BROKER_URL": other, **PATIENT}, tmp_path) as workers:
        serial = serial_results(workers.spec(values(40)))
        experiment = workers.submit(values(40) + "  sleep_s: {value: 0.01}")
        workers.until(lambda: workers.store.experiment(experiment).finished >= 5, "progress")
        assert workers.process is not None
        began = time.monotonic()
        workers.process.send_signal(signal.SIGINT)
        workers.process.send_signal(signal.SIGINT)
        assert workers.stop() == 0
        assert time.monotonic() - began < float(PATIENT["OPTML_GRACE_S"]) / 2
        workers.start()
        assert_undisturbed(workers, experiment, serial)
        reasons = {attempt.reason for n in range(40) for attempt in workers.store.attempts(experiment, n)}
        assert reasons <= {"released"}
        assert_queue_empties(workers, workers.store.client)
