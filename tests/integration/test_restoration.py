"""An experiment comes back from its archive alone, into a store that knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from optml_queue import experiments
from optml_queue.archive import Archive, kept
from optml_queue.archive_source import ArchiveSource
from optml_queue.checkpoint import encode_state
from optml_queue.errors import ArchiveError, InputError, NotFoundError, UnreachableError
from optml_queue.results import consolidate, write_parts
from optml_queue.spec import Spec, load_spec, parse_spec
from optml_queue.store import Assignment, ExperimentState, Publication, Store
from optml_queue.trial import Trial, TrialResult, TrialState, digest

pytestmark = pytest.mark.integration

X = "grid-abcde"
GRID = """
name: grid
algorithm: lms
parameters:
  learning_rate: {values: [0.1, 0.2, 0.3, 0.4, 0.5]}
  filter_size: {values: [3, 5, 7, 9]}
retry: {max_attempts: 2, on: [lost]}
"""
LONGER = ("parameters.learning_rate.values=[0.1,0.2,0.3,0.4,0.5,0.6]",)


def spec(*overrides: str) -> Spec:
    return parse_spec(GRID, "grid.yaml", Path.cwd(), overrides)


def submitted(store: Store, archive: Archive) -> str:
    return experiments.submit(store, archive, spec(), experiment=X)


def claimed(store: Store) -> list[Publication]:
    found: list[Publication] = []
    experiments.advance(store, found.extend, X)
    return found


def begin(store: Store, message: Publication, token: str = "t") -> Assignment:
    answer = store.begin(X, message.number, message.generation, digest(message.params), token, "w", 30.0)
    assert isinstance(answer, Assignment)
    return answer


def complete(store: Store, messages: Sequence[Publication]) -> None:
    for message in messages:
        begin(store, message)
        value = 1.0 / (1 + message.number)
        assert store.finish(X, message.number, "t", TrialResult(TrialState.COMPLETE, {"nmse": value})) == "accepted"


def trials(store: Store) -> list[Trial]:
    return list(store.stream(X))


def test_what_was_finished_is_there_and_the_rest_runs(store: Store, archive: Archive) -> None:
    submitted(store, archive)
    messages = claimed(store)
    complete(store, [messages[n] for n in (4, 2, 7)])
    begin(store, messages[0])
    store.release(X, 0, "t", "error", failed=True, error="boom")
    finished = trials(store)
    log = [t.number for t in sorted(store.finished(X, 0, 9), key=lambda t: (t.finished_at, t.number))]
    write_parts(store, archive, X, force=True)
    complete(store, messages[9:10])  # not archived in time
    store.client.flushall()

    record = experiments.restore(store, archive, X)
    assert (record.state, record.reason) == (ExperimentState.PAUSED, "restored from the archive")
    assert [trial for trial in trials(store) if trial.state in ("complete", "failed")] == [
        trial for trial in finished if trial.state in ("complete", "failed")
    ]
    assert [trial.number for trial in store.finished(X, 0, 99)] == log
    assert [trial.number for trial in store.best(X, 9)] == [7, 4, 2]
    store.resume(X)
    complete(store, claimed(store))
    record = store.experiment(X)
    assert (record.state, record.created, record.counts[TrialState.COMPLETE]) == ("complete", 20, 19)
    assert [trial.number for trial in trials(store)] == list(range(20))
    assert experiments.retry(store, X, states=[TrialState.FAILED]) == 1


def test_checkpoints_are_found_again_and_attempts_go_on_counting(store: Store, archive: Archive) -> None:
    submitted(store, archive)
    messages = claimed(store)
    complete(store, messages[3:4])
    write_parts(store, archive, X, force=True)
    for attempt, count in ((1, 10), (2, 3), (2, 2)):
        archive.put(kept.checkpoint_key(X, 1, attempt, count), encode_state({"step": count}))
    archive.put(kept.output_key(X, 2, 1), b"hello")
    store.client.flushall()
    experiments.restore(store, archive, X)
    store.resume(X)
    found = {message.number: begin(store, message) for message in claimed(store)}
    assert (found[1].attempt, found[1].checkpoint) == (3, kept.checkpoint_key(X, 1, 2, 3))
    assert (found[2].attempt, found[2].checkpoint) == (2, "")
    assert (found[0].attempt, found[0].checkpoint) == (1, "")
    assert 3 not in found


def test_one_that_was_over_is_over_with_all_that_was_known(store: Store, archive: Archive) -> None:
    submitted(store, archive)
    messages = claimed(store)
    complete(store, messages[:19])
    begin(store, messages[19])
    store.release(X, 19, "t", "error", failed=True, error="boom", traceback="deep")
    write_parts(store, archive, X, force=True)
    consolidate(store, archive, X)
    before, finished, attempts = store.experiment(X), trials(store), store.attempts(X, 19)
    store.client.flushall()
    after = experiments.restore(store, archive, X)
    assert (after.state, after.created, after.counts, after.events) == (
        before.state, before.created, before.counts, before.events,
    )  # fmt: skip
    assert after.is_consolidated
    assert store.active() == []
    assert (trials(store), store.attempts(X, 19)) == (finished, attempts)
    assert experiments.restore(store, archive, X) == after


def test_results_after_a_restoration_stand_above_older_ones(store: Store, archive: Archive) -> None:
    # Trial 19 fails, is archived as failed, runs again and is archived again: its part must not come before the old.
    submitted(store, archive)
    messages = claimed(store)
    complete(store, messages[:19])
    for _ in range(3):  # each time the log grows by an entry for the same trial
        begin(store, messages[19] if len(trials(store)) and not store.experiment(X).is_over else claimed(store)[0])
        store.release(X, 19, "t", "error", failed=True, error="boom")
        write_parts(store, archive, X, force=True)
        consolidate(store, archive, X)
        experiments.retry(store, X, numbers=[19])
        messages[19:] = claimed(store)
    store.client.flushall()
    experiments.restore(store, archive, X)
    assert experiments.retry(store, X, numbers=[19]) == 1
    complete(store, claimed(store))
    write_parts(store, archive, X, force=True)
    consolidate(store, archive, X)
    source = ArchiveSource(archive)
    assert [trial.state for trial in source.stream(X)] == ["complete"] * 20
    assert source.experiment(X).state == "complete"


def test_two_at_once_and_one_that_was_cut_off(store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optml_queue.restoration.BATCH", 2)
    submitted(store, archive)
    complete(store, claimed(store)[3:17])
    expected = [trial for trial in trials(store) if trial.state == "complete"]
    write_parts(store, archive, X, force=True)
    store.client.flushall()

    with monkeypatch.context() as cut:
        cut.setattr(Store, "restore_queued", _unreachable)
        with pytest.raises(UnreachableError):
            experiments.restore(store, archive, X)
    assert store.experiment(X).is_restoring
    assert store.resume(X) == "paused"
    assert claimed(store) == []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: experiments.restore(store, archive, X), range(4)))
    record = store.experiment(X)
    assert (record.counts[TrialState.COMPLETE], record.counts[TrialState.QUEUED]) == (14, 3)
    assert [trial for trial in trials(store) if trial.state == "complete"] == expected
    assert len(store.finished(X, 0, 99)) == 14
    assert list(store.client.scan_iter(match="*:log:*")) == []
    store.resume(X)
    complete(store, claimed(store))
    assert store.experiment(X).state == "complete"
    assert [trial.number for trial in trials(store)] == list(range(20))


def _unreachable(*_: object) -> bool:
    raise UnreachableError("the store", "redis://localhost", "gone")


def test_a_stopped_one_comes_back_stopped(store: Store, archive: Archive) -> None:
    submitted(store, archive)
    messages = claimed(store)
    begin(store, messages[0])
    assert store.stop(X, "enough") == "running"
    store.finish(X, 0, "t", TrialResult(TrialState.COMPLETE, {"nmse": 1.0}))
    assert store.experiment(X).state == "stopped"
    write_parts(store, archive, X, force=True)
    consolidate(store, archive, X)
    store.client.flushall()
    record = experiments.restore(store, archive, X)
    assert (record.state, record.reason, record.counts[TrialState.QUEUED]) == ("stopped", "enough", 19)
    assert store.resume(X) == "running"
    complete(store, claimed(store))
    assert store.experiment(X).state == "complete"


def test_submitting_under_an_id_that_only_the_archive_has_goes_on(store: Store, archive: Archive) -> None:
    submitted(store, archive)
    complete(store, claimed(store)[:5])
    write_parts(store, archive, X, force=True)
    store.client.flushall()
    with pytest.raises(InputError, match="exists with another spec"):
        experiments.submit(store, archive, spec("max_trials=3"), experiment=X)
    assert experiments.submit(store, archive, spec(), experiment=X) == X
    assert store.experiment(X).counts[TrialState.COMPLETE] == 5
    assert experiments.submit(store, archive, spec(), experiment=X) == X
    store.resume(X)
    assert len(claimed(store)) == 15


def test_what_the_archive_does_not_have_is_said(store: Store, archive: Archive) -> None:
    with pytest.raises(NotFoundError, match="has no experiment 'nobody'"):
        experiments.restore(store, archive, "nobody")
    assert store.experiments() == []


def test_an_archive_that_refuses_leaves_no_experiment(
    store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ArchiveError("full")

    with monkeypatch.context() as full:
        full.setattr(type(archive), "put", refuse)
        with pytest.raises(ArchiveError):
            submitted(store, archive)
    assert store.experiments() == []
    assert submitted(store, archive) == X


def test_a_store_that_fails_leaves_a_spec_that_can_be_submitted_again(
    store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(Store, "create", _unreachable)
        with pytest.raises(UnreachableError):
            submitted(store, archive)
    assert store.experiments() == []
    submitted(store, archive)
    store.resume(X)
    complete(store, claimed(store))
    assert store.experiment(X).state == "complete"


class TestExtend:
    def test_a_running_one(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        messages = claimed(store)
        complete(store, messages[:5])
        before = trials(store)[:20]
        longer = experiments.extend(store, archive, X, spec(*LONGER))
        assert (longer.extensions, longer.exhausted) == (1, False)
        new = claimed(store)
        assert [message.params for message in new] == [
            {"learning_rate": 0.6, "filter_size": size} for size in (3, 5, 7, 9)
        ]
        assert trials(store)[:20] == before
        complete(store, [*messages[5:], *new])
        record = store.experiment(X)
        assert (record.state, record.created, record.total) == ("complete", 24, 24)

    def test_one_that_was_over_is_open_again_and_comes_back_from_the_archive(
        self, store: Store, archive: Archive, tmp_path: Path
    ) -> None:
        submitted(store, archive)
        complete(store, claimed(store))
        write_parts(store, archive, X, force=True)
        consolidate(store, archive, X)
        experiments.extend(store, archive, X, spec(*LONGER))
        assert store.experiment(X).state == "running"
        complete(store, claimed(store)[:1])
        write_parts(store, archive, X, force=True)
        store.client.flushall()
        record = experiments.restore(store, archive, X)
        assert (record.state, record.counts[TrialState.COMPLETE]) == ("paused", 21)
        store.resume(X)
        complete(store, claimed(store))
        assert store.experiment(X).counts[TrialState.COMPLETE] == 24
        written = load_spec(tmp_path / "archive" / X / "spec.yaml")
        assert written == Spec.from_json(store.spec(X))
        assert len(written.earlier) == 1

    def test_submitting_the_longer_spec_under_its_id_goes_on(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        claimed(store)
        experiments.extend(store, archive, X, spec(*LONGER))
        assert experiments.submit(store, archive, spec(*LONGER), experiment=X) == X
        with pytest.raises(InputError, match="exists with another spec"):
            submitted(store, archive)
        assert store.experiment(X).extensions == 1

    def test_twice_changes_nothing_more(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        once = experiments.extend(store, archive, X, spec(*LONGER))
        assert experiments.extend(store, archive, X, spec(*LONGER)) == once
        assert once.extensions == 1

    def test_a_plan_that_was_read_before_reserves_nothing(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        experiments.extend(store, archive, X, spec(*LONGER))
        assert not store.reserve(X, 0, 20, [], exhausted=True, extensions=0)
        assert store.reserve(X, 0, 20, [], exhausted=False, extensions=1)

    def test_by_two_at_once_has_the_trials_of_both(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        claimed(store)
        both = (LONGER, ("seeds=[0,1]",))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda changes: experiments.extend(store, archive, X, spec(*changes)), both))
        record = store.experiment(X)
        assert record.extensions == 2
        assert archive.get(f"{X}/spec.yaml").decode() == Spec.from_json(record.spec).to_yaml()

    def test_max_trials_must_leave_room(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        claimed(store)
        with pytest.raises(InputError, match="max_trials: is 20, and the experiment has 20 trials already"):
            experiments.extend(store, archive, X, spec(*LONGER, "max_trials=20"))

    def test_not_while_it_is_ending(self, store: Store, archive: Archive) -> None:
        submitted(store, archive)
        begin(store, claimed(store)[0])
        store.cancel(X)
        with pytest.raises(InputError, match="is ending"):
            experiments.extend(store, archive, X, spec(*LONGER))
