"""`retain: summary`: records leave the store for the archive's parts, and nobody who reads can tell."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from optml_queue import experiments, results, retention
from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError
from optml_queue.export import export
from optml_queue.restoration import submission_of
from optml_queue.results import consolidate, write_opening, write_parts
from optml_queue.retention import RetainingStore
from optml_queue.spec import parse_spec
from optml_queue.store import Assignment, Declined, NewTrial, Publication, Store
from optml_queue.store import store as store_module
from optml_queue.trial import TrialResult, TrialState, digest
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.integration

X = "lms-abcde"
TRIALS = 60
SPEC = f"""
name: lms
algorithm: lms
method: grid
metric: {{name: nmse, goal: minimize}}
parameters:
  learning_rate: {{min: 1e-9, max: 1e-5, count: {TRIALS}}}
retry: {{max_attempts: 1}}
max_failed: {TRIALS}
retain: summary
"""


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PART_LENGTH", 7)
    monkeypatch.setattr(store_module, "RECENT_KEPT", 2)
    for module in (store_module, retention):
        monkeypatch.setattr(module, "BEST_KEPT", 3)
        monkeypatch.setattr(module, "FIRST_KEPT", 1)


@pytest.fixture
def whole(store: Store, server: ValkeyServer, archive: Archive) -> Iterator[RetainingStore]:
    """The store beside its archive, with an experiment all of whose trials are published."""
    whole = RetainingStore.beside(archive.url, server.url)
    spec = parse_spec(SPEC, "grid.yaml", Path.cwd())
    whole.create(X, submission_of(spec, {}))
    write_opening(archive, whole.experiment(X))
    rates = spec.space.axes[0]
    points = [{"learning_rate": float(str(rates.value(n)))} for n in range(TRIALS)]
    whole.reserve(X, 0, TRIALS, [NewTrial(n, dict(point), 0) for n, point in enumerate(points)], exhausted=True)
    yield whole
    whole.close()


def claimed(store: Store) -> list[Publication]:
    return store.claim(store.experiment(X), workers=1)


def run(store: Store, publication: Publication, result: TrialResult | None) -> None:
    """One attempt of a trial, as a worker makes it; it fails when there is no result."""
    number, token = publication.number, f"token-{publication.number}"
    given = store.begin(X, number, publication.generation, digest(publication.params), token, "w1", 30.0)
    assert isinstance(given, Assignment)
    if result is None:
        store.release(X, number, token, "error", failed=True, error="ValueError: no\nluck")
    else:
        assert store.finish(X, number, token, result) == "accepted"


def complete(value: float) -> TrialResult:
    return TrialResult(TrialState.COMPLETE, {"nmse": value})


def any_result(chance: Random) -> TrialResult | None:
    outcome = chance.choice(["failed", "diverged", "stopped_early", "infeasible", *["complete"] * 5])
    if outcome == "failed":
        return None
    if outcome == "infeasible":
        return TrialResult(TrialState.COMPLETE, {"nmse": 0.0}, "infeasible: size < 3")
    return TrialResult(TrialState(outcome), {"nmse": chance.choice([chance.random(), 0.25, float("inf")])})


def forget(store: Store, most: int = 5) -> int:
    """All there is to forget, a few entries of the log at a time."""
    passed = 0
    while now := store.forget(X, most):
        passed += now
    return passed


def seen(store: Store) -> list[object]:
    """All that readers of trials are told of the experiment."""
    table = io.BytesIO()
    export(store.stream(X), "csv", table, ["learning_rate"], ["nmse"])
    pages = [store.page(X, state, offset, 9) for state in (None, *TrialState) for offset in (0, 4, 40)]
    log = [store.finished(X, start, start + 11) for start in range(0, TRIALS, 11)]
    trials = store.trials(X, [TRIALS + 3, *range(TRIALS - 1, -1, -1)])
    return [table.getvalue(), pages, log, trials, store.best(X), store.best(X, 20), store.experiment(X).counts]


def records(store: Store) -> int:
    """How many finished trials the store has a record of."""
    return sum(store.client.hlen(key) for key in store.client.scan_iter(f"optml:x:{X}:done:*"))


@pytest.mark.parametrize("seed", range(2))
def test_nobody_who_reads_can_tell(whole: RetainingStore, archive: Archive, seed: int) -> None:
    chance = Random(seed)
    publications = claimed(whole)
    chance.shuffle(publications)
    for number, publication in enumerate(publications[:-3], 1):
        run(whole, publication, any_result(chance))
        if number % 19 == 0:
            before = seen(whole)
            write_parts(whole, archive, X, force=chance.random() < 0.5)
            assert forget(whole) > 0
            assert seen(whole) == before
        if number == 40:  # what had failed runs again, and is archived anew
            experiments.retry(whole, X, states=[TrialState.FAILED])
            for again in claimed(whole):
                run(whole, again, complete(chance.random()))
    before = seen(whole)
    write_parts(whole, archive, X, force=True)
    forget(whole)
    assert seen(whole) == before
    assert records(whole) < 40

    whole.cancel(X)
    whole.drain(X)
    ended = seen(whole)
    consolidate(whole, archive, X)
    assert archive.get(f"{X}/results.csv") == ended[0]
    assert [*ArchiveSource(archive).stream(X)] == [*whole.stream(X)]

    whole.remove(X)
    assert experiments.restore(whole, archive, X)
    assert seen(whole)[0] == ended[0]
    assert forget(whole) > 0
    assert seen(whole)[0] == ended[0]
    assert whole.trials(X, range(TRIALS)) == [*whole.stream(X)]


def test_a_late_message_of_a_trial_whose_record_has_gone_is_declined(whole: RetainingStore, archive: Archive) -> None:
    publications = claimed(whole)
    for publication in publications:
        run(whole, publication, complete(1 / (1 + publication.number)))  # the last is always the best
        write_parts(whole, archive, X, force=True)
        forget(whole)
    gone = whole.only_archived(X, range(TRIALS))
    assert len(gone) > TRIALS - 14
    assert records(whole) == TRIALS - len(gone)
    for number in gone:
        late = publications[number]
        answer = whole.begin(X, number, late.generation, digest(late.params), "late", "w2", 30.0)
        assert answer == Declined("already finished")
        result = TrialResult(TrialState.COMPLETE, {"nmse": 0.0})
        assert whole.finish(X, number, f"token-{number}", result) == "duplicate"
    assert whole.experiment(X).counts[TrialState.COMPLETE] == TRIALS
    assert whole.begin(X, TRIALS + 1, 1, "0" * 16, "late", "w2", 30.0) == Declined("unknown trial")
    whole.remove(X)
    assert not [*whole.client.scan_iter(f"optml:x:{X}*")]


class Failing:
    """An archive whose parts cannot be written: after them, when `late`, as if the process died there."""

    def __init__(self, archive: Archive, *, late: bool) -> None:
        self._archive = archive
        self._late = late

    def put(self, key: str, body: bytes) -> None:
        if self._late:
            self._archive.put(key, body)
        raise ArchiveError("no room")


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_given_up_that_the_archive_may_not_have(
    whole: RetainingStore, archive: Archive, *, late: bool
) -> None:
    publications = claimed(whole)
    for publication in publications[:14]:
        run(whole, publication, complete(publication.number % 5))
    write_parts(whole, archive, X)
    for publication in publications[14:30]:
        run(whole, publication, complete(publication.number % 5))
    before = seen(whole)
    with pytest.raises(ArchiveError):
        write_parts(whole, Failing(archive, late=late), X)  # type: ignore[arg-type]  # all that is called is `put`
    assert forget(whole) == 12
    assert seen(whole) == before
    assert not set(whole.only_archived(X, range(TRIALS))) - {p.number for p in publications[:14]}

    another = RetainingStore.beside(archive.url, whole.url)  # the process after that one
    write_parts(another, archive, X, force=True)
    another.forget(X, 4)  # … which dies, too
    assert forget(whole) == 12
    assert seen(another) == before


def test_without_the_key_nothing_is_given_up(store: Store, archive: Archive) -> None:
    spec = parse_spec(SPEC.replace("retain: summary", "retain: all"), "grid.yaml", Path.cwd())
    store.create(X, submission_of(spec, {}))
    store.reserve(X, 0, 9, [NewTrial(n, {"learning_rate": 0.1}, 0) for n in range(9)], exhausted=True)
    for publication in claimed(store):
        run(store, publication, complete(1.0))
    write_parts(store, archive, X, force=True)
    assert forget(store) == 0
