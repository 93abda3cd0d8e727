"""A real store, and an archive in S3: what is read from either is the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from optml_queue import results
from optml_queue.archive import open_archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.driver import Goal
from optml_queue.results import consolidate, write_opening, write_parts
from optml_queue.settings import read_settings
from optml_queue.spec import parse_spec
from optml_queue.store import Assignment, NewTrial, Store, Submission
from optml_queue.trial import TrialResult, TrialState, digest
from optml_queue.worker import claims
from optml_queue.worker.application import Application
from optml_queue.worker.archivist import Archivist
from optml_queue.worker.control import Control
from tests.moto_server import aws_settings, moto_server
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

X = "lms-abcde"
SPEC = """
name: lms
algorithm: lms
method: grid
metric: {name: nmse, goal: minimize}
parameters:
  learning_rate: {values: [0.5, 1.0e-6, 5.0e-6, 1.0e-7]}
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with valkey_server() as server:
        store = Store.from_url(server.url)
        yield store
        store.close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with moto_server() as endpoint:
        for name, value in aws_settings(endpoint).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="optml")
        yield "s3://optml/experiments"


def run(store: Store, number: int, result: TrialResult | None) -> None:
    """One attempt of a trial, as a worker makes it; it fails when there is no result."""
    (publication,) = (each for each in store.claim(store.experiment(X), 1, 1) if each.number == number)
    token = f"token-{number}"
    given = store.begin(X, number, publication.generation, digest(publication.params), token, "w1", 30.0)
    assert isinstance(given, Assignment)
    store.log(X, number, f"rate {publication.params['learning_rate']}")
    if result is None:
        store.release(X, number, token, "error", failed=True, error="ValueError: no\nluck", traceback="…")
    else:
        assert store.finish(X, number, token, result) == "accepted"


def test_an_archive_in_s3_answers_as_the_store_does(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PART_LENGTH", 2)
    spec = parse_spec(SPEC, "grid.yaml", Path.cwd())
    store.create(
        X,
        Submission(name="lms", spec=spec.to_json(), end=4, metric="nmse", goal=Goal.MINIMIZE, resource_class="default"),
    )
    archive = open_archive(bucket)
    write_opening(archive, store.experiment(X))
    points = [{"learning_rate": rate} for rate in (0.5, 1e-6, 5e-6, 1e-7)]
    store.reserve(X, 0, 4, [NewTrial(n, dict(point), 0) for n, point in enumerate(points)], exhausted=True)
    run(store, 0, TrialResult(TrialState.DIVERGED, {"nmse": float("nan")}, "weights overflowed"))
    run(store, 1, TrialResult(TrialState.COMPLETE, {"nmse": 0.1 + 0.2, "mse": 1e-300}))
    run(store, 2, None)
    assert write_parts(store, archive, X) == 2
    source = ArchiveSource(archive)
    assert [trial.number for trial in source.stream(X)] == [0, 1]
    assert source.best(X)[0] == store.best(X)[0]

    run(store, 3, TrialResult(TrialState.COMPLETE, {"nmse": 0.5, "mse": 2.0}))
    consolidate(store, archive, X)
    record = store.experiment(X)
    assert record.is_consolidated
    assert source.resolve("latest") == X
    assert source.experiment(X).counts == record.counts
    assert source.experiment(X).state is record.state
    assert list(map(repr, source.stream(X))) == list(map(repr, store.stream(X)))
    assert source.page(X, TrialState.COMPLETE) == store.page(X, TrialState.COMPLETE)
    assert source.attempts(X, 2) == store.attempts(X, 2)
    assert source.attempts(X, 2)[0].error == "ValueError: no\nluck"
    assert [source.logs(X, number) for number in range(4)] == [store.logs(X, number) for number in range(4)]
    assert archive.get(f"{X}/error.png").startswith(b"\x89PNG")


class Writing(Archivist):
    """An archivist whose looks the test makes, and that notes what it writes."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(store, str(folder))
        self.watch([X])
        self.wrote = 0

    def look(self) -> int:
        """How often it came to write at this look."""
        before = self.wrote
        self._look_after(X)
        return self.wrote - before

    def _archive(self, experiment: str) -> bool:
        self.wrote += 1
        return super()._archive(experiment)


def test_of_two_archivists_one_writes_and_the_other_takes_over_when_it_is_gone_or_fails(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PART_LENGTH", 1)
    spec = parse_spec(SPEC, "grid.yaml", Path.cwd())
    store.create(X, Submission("lms", spec.to_json(), 4, "nmse", Goal.MINIMIZE, "default"))
    write_opening(open_archive(str(tmp_path)), store.experiment(X))
    points = [{"learning_rate": rate} for rate in (0.5, 1e-6, 5e-6, 1e-7)]
    store.reserve(X, 0, 4, [NewTrial(n, dict(point), 0) for n, point in enumerate(points)], exhausted=True)

    def parts() -> int:
        return len(list((tmp_path / X / "parts").glob("*")))

    first, second = Writing(store, tmp_path), Writing(store, tmp_path)
    run(store, 0, TrialResult(TrialState.COMPLETE, {"nmse": 0.5}))
    assert [first.look(), second.look(), first.look(), second.look()] == [1, 0, 1, 0]
    assert (parts(), store.experiment(X).archived) == (1, 1)
    # The first one dies: it renews its claim no more.
    store.client.pexpire(f"optml:x:{X}:archivist", 1)
    run(store, 1, TrialResult(TrialState.COMPLETE, {"nmse": 0.4}))
    time.sleep(0.005)
    assert [second.look(), first.look()] == [1, 0]
    assert parts() == 2
    # The second one's archive cannot be written to any more: the first one's can.
    run(store, 2, TrialResult(TrialState.COMPLETE, {"nmse": 0.3}))
    second._archive_url = "/dev/null/nowhere"
    assert [second.look(), second.look(), first.look()] == [1, 0, 1]
    # A slow archive: the claim is kept while it is written to.
    monkeypatch.setattr(claims, "LEASE_S", 0.9)
    with first._claims.kept(X):
        store.client.pexpire(f"optml:x:{X}:archivist", 600)
        time.sleep(0.7)
        second._stands_back_until.clear()
        assert second.look() == 0
    run(store, 3, TrialResult(TrialState.COMPLETE, {"nmse": 0.2}))
    assert [first.look(), first._watched] == [1, {}]
    assert store.experiment(X).is_consolidated
    assert store.client.exists(f"optml:x:{X}:archivist") == 0


def test_what_a_crashed_server_forgot_is_archived_again(tmp_path: Path) -> None:
    spec = parse_spec(SPEC, "grid.yaml", Path.cwd())
    with valkey_server() as server:
        store = Store.from_url(server.url, retries=20)
        store.create(X, Submission("lms", spec.to_json(), 1, "nmse", Goal.MINIMIZE, "default"))
        store.reserve(X, 0, 1, [NewTrial(0, {"learning_rate": 0.5}, 0)], exhausted=True)
        run(store, 0, TrialResult(TrialState.COMPLETE, {"nmse": 0.5}))
        control = Control(
            Application(read_settings({"OPTML_BROKER_URL": server.url, "OPTML_ARCHIVE_URL": str(tmp_path)}))
        )
        keeper = control._archivist

        def looked() -> bool:
            """Whether the control process finds something unfinished, which it then archives."""
            control._heal()
            keeper._recall()
            found = list(keeper._watched)
            for experiment in found:
                keeper._look_after(experiment)
            return bool(found)

        assert looked()
        assert store.experiment(X).is_consolidated
        # In the server's last second: the mark that all is archived.
        store.client.hdel(f"optml:x:{X}", "consolidated")
        assert not looked()
        server.stop()
        server.start()
        assert looked()
        assert store.experiment(X).is_consolidated
        store.close()
