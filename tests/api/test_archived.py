"""Experiments that only the archive has: looked at like any other, changed by nobody, brought back by operators."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import httpx
import pytest

from optml_queue.api import archived, shelf
from optml_queue.api.archived import ArchivedExperiment, ArchivedTrials
from optml_queue.api.installation import Installation
from optml_queue.archive import open_archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError, NotFoundError, UnreachableError
from optml_queue.results import consolidate, write_parts
from tests.api.installations import SPEC, carried_out, submitted
from tests.processes import wait_until

pytestmark = pytest.mark.integration

EXPERIMENTS = "/api/v1/experiments"
RATES = SPEC.replace("[1e-3, 1e-2, 0.1, 1.0]", "{values: [6, 5, 4, 3, 2, 1]}")
READ = ("", "/spec", "/trials", "/trials/3", "/trials/0/logs", "/best", "/results.csv", "/results.jsonl")
PLOTS = ("points", "history", "curves", "durations", "timeline")


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes half a second, and other tests look at pictures."""
    monkeypatch.setattr("optml_queue.plots.error_plot", lambda *_: b"\x89PNG")


def forgotten(here: Installation, id_: str, *, final: bool = True) -> str:
    """The store is emptied after the experiment was archived; all of it, or only what had finished."""
    write_parts(here.store, here.archive, id_, force=True)
    if final:
        consolidate(here.store, here.archive, id_)
    for key in here.store.client.scan_iter("optml:*"):
        if "token" not in key and "session" not in key:
            here.store.client.delete(key)
    return id_


@pytest.fixture
def over(operator: httpx.Client, here: Installation) -> str:
    """An experiment of six trials, one failed and one diverged, that only the archive has."""
    id_ = submitted(operator, RATES)
    carried_out(here.store, id_, "fdcc")
    here.store.log(id_, 0, "a line")
    return forgotten(here, id_)


def test_it_says_what_the_store_said(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator, RATES)
    carried_out(here.store, id_, "fdcc")
    here.store.log(id_, 0, "a line")
    questions = [*READ, *(f"/plots/{name}" for name in PLOTS)]
    questions += [
        "/trials?sort=params.learning_rate&limit=3&offset=1",
        "/trials?state=complete",
        "/trials?state=failed",
    ]
    questions += [
        "/trials?where=learning_rate<4&sort=metric&descending=1",
        "/trials?sort=finished",
        "/trials?sort=metric",
    ]
    before = {question: operator.get(f"{EXPERIMENTS}/{id_}{question}") for question in questions}
    forgotten(here, id_)
    for question, told in before.items():
        response = operator.get(f"{EXPERIMENTS}/{id_}{question}")
        assert response.status_code == 200, response.text
        if question.startswith("/results"):
            assert response.text == told.text
            continue
        was, is_ = told.json(), response.json()
        if question == "":
            assert (is_.pop("archived"), was.pop("archived")) == (True, False)
            assert "by step" in is_.pop("missing")[0]
            assert was.pop("missing") == []
        if question == "/trials/3":
            assert (was.pop("curve"), is_.pop("curve")) == ([[1, 2.0], [2, 1.0]], [])
        if question == "/plots/curves":
            assert is_.pop("curves") == []
            was.pop("curves")
        assert is_ == was, question


def test_it_is_listed_after_those_of_the_store(operator: httpx.Client, over: str) -> None:
    new = submitted(operator)
    listed = operator.get(EXPERIMENTS).json()
    assert [(each["experiment"], each["archived"]) for each in listed["experiments"]] == [(new, False), (over, True)]
    assert (listed["total"], listed["unread"], listed["problem"]) == (2, 0, "")
    second = operator.get(EXPERIMENTS, params={"offset": 1, "limit": 1}).json()
    assert [each["experiment"] for each in second["experiments"]] == [over]
    complete = operator.get(EXPERIMENTS, params={"state": "complete"}).json()
    assert [each["experiment"] for each in complete["experiments"]] == [over]
    assert operator.get(f"{EXPERIMENTS}/latest").json()["experiment"] == new


def test_nothing_changes_it_but_an_operator_brings_it_back(
    operator: httpx.Client, viewer: httpx.Client, here: Installation, over: str
) -> None:
    before = {key: here.archive.get(key) for key in here.archive.keys(over)}
    for verb in ("pause", "stop", "cancel"):
        response = operator.post(f"{EXPERIMENTS}/{over}/{verb}")
        assert response.status_code == 409
        assert f"{over}/restore" in response.json()["detail"]
    assert operator.post(f"{EXPERIMENTS}/{over}/retry", json={"failed": True}).status_code == 409
    assert operator.post(f"{EXPERIMENTS}/{over}/extend", json={}).status_code == 422
    yaml = {"Content-Type": "application/yaml"}
    assert operator.post(f"{EXPERIMENTS}/{over}/extend", content=RATES, headers=yaml).status_code == 409
    assert operator.delete(f"{EXPERIMENTS}/{over}").status_code == 409
    assert operator.get(f"{EXPERIMENTS}/{over}/events").status_code == 409
    assert {key: here.archive.get(key) for key in here.archive.keys(over)} == before
    assert viewer.post(f"{EXPERIMENTS}/{over}/restore").status_code == 403

    back = operator.post(f"{EXPERIMENTS}/{over}/restore").json()
    assert (back["archived"], back["state"], back["counts"]["complete"]) == (False, "complete", 4)
    assert [each["archived"] for each in operator.get(EXPERIMENTS).json()["experiments"]] == [False]
    assert operator.post(f"{EXPERIMENTS}/{over}/retry", json={"failed": True}).json()["reopened"] == 1
    assert carried_out(here.store, over) == 1


def test_one_that_ran_when_the_store_was_lost_says_so_and_resumes(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator, RATES)
    carried_out(here.store, id_, "fc", most=4)
    forgotten(here, id_, final=False)
    shown = operator.get(f"{EXPERIMENTS}/{id_}").json()
    assert (shown["archived"], shown["finished"], shown["counts"]["failed"]) == (True, 4, 1)
    assert any("it was running" in sentence for sentence in shown["missing"])
    assert [each["finished"] for each in operator.get(EXPERIMENTS).json()["experiments"]] == [4]
    assert operator.get(f"{EXPERIMENTS}/{id_}/trials").json()["total"] == 4
    assert len(operator.get(f"{EXPERIMENTS}/{id_}/results.jsonl").text.splitlines()) == 4
    assert operator.get(f"{EXPERIMENTS}/{id_}/trials/5").status_code == 404
    resumed = operator.post(f"{EXPERIMENTS}/{id_}/resume").json()
    assert (resumed["state"], resumed["archived"]) == ("running", False)
    assert carried_out(here.store, id_) == 2


def test_points_of_several_seeds_are_ranked(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator, RATES + "seeds: [0, 1]\n")
    carried_out(here.store, id_)
    told = operator.get(f"{EXPERIMENTS}/{id_}/best").json()
    forgotten(here, id_)
    assert operator.get(f"{EXPERIMENTS}/{id_}/best").json() == told


def test_its_pages_offer_to_bring_it_back_and_no_more(operator: httpx.Client, viewer: httpx.Client, over: str) -> None:
    html = {"Accept": "text/html"}
    base = f"/experiments/{over}"
    listed = operator.get("/", headers=html).text
    assert "archived" in listed
    assert "0.1667" in listed  # the best, from its summary
    page = operator.get(base, headers=html).text
    assert "Only the archive has this experiment" in page
    assert 'data-over="yes"' in page
    assert 'action="' + base + '/restore"' in page
    assert page.count('method="post" action="/experiments') == 1
    assert "/restore" not in viewer.get(base, headers=html).text
    for path in ("/trials", "/trials?state=failed", "/trials/0"):
        shown = operator.get(f"{base}{path}", headers=html)
        assert shown.status_code == 200
        assert "/retry" not in shown.text
    assert operator.get(f"{base}/extend", headers=html).status_code == 409
    assert RATES.splitlines()[0] in operator.get(f"/experiments/new?like={over}", headers=html).text
    assert operator.get(f"{base}/error.png").headers["content-type"] == "image/png"


def test_an_archive_that_does_not_answer_is_said_and_hides_nothing_else(
    operator: httpx.Client, here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = submitted(operator)

    def fails(*_: object) -> None:
        raise UnreachableError("the archive", "s3://bucket", "no answer")

    for name in ("children", "exists"):
        monkeypatch.setattr(here.archive, name, fails)
    here.shelf.forget("")
    listed = operator.get(EXPERIMENTS).json()
    assert [each["experiment"] for each in listed["experiments"]] == [id_]
    assert "s3://bucket is not reachable" in listed["problem"]
    assert "not reachable" in operator.get("/", headers={"Accept": "text/html"}).text
    assert operator.get(f"{EXPERIMENTS}/none").status_code == 503  # it may be there


def test_a_list_takes_a_bounded_time_and_says_what_is_left(
    operator: httpx.Client, here: Installation, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read, read = threading.Event(), shelf._entry

    def slow(source: ArchiveSource, id_: str) -> ArchivedExperiment | None:
        assert may_read.wait(20)
        return read(source, id_)

    monkeypatch.setattr(shelf, "_entry", slow)
    monkeypatch.setattr(shelf, "READ_LIMIT_S", 0.05)
    assert "unread" in operator.get(EXPERIMENTS).text
    wait_until(lambda: operator.get(EXPERIMENTS).json()["unread"] == 1, what="an archive that was looked into")
    assert "1 more in the archive" in operator.get("/", headers={"Accept": "text/html"}).text
    may_read.set()
    wait_until(lambda: operator.get(EXPERIMENTS).json()["unread"] == 0, what="a record that was read")
    assert operator.get(EXPERIMENTS).json()["total"] == 1
    shutil.rmtree(Path(here.archive.url) / over)
    here.shelf.forget("")
    wait_until(lambda: operator.get(EXPERIMENTS).json()["total"] == 0, what="an archive that was looked into again")


def test_an_archive_that_is_silent_keeps_no_list_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, may_answer = open_archive(str(tmp_path)), threading.Event()

    def silent(_folder: str = "") -> list[str]:
        assert may_answer.wait(20)
        return []

    monkeypatch.setattr(archive, "children", silent)
    monkeypatch.setattr(shelf, "READ_LIMIT_S", 0.01)
    found = shelf.Shelf(lambda: archive)
    assert "has not answered yet" in found.listed(()).problem
    may_answer.set()
    wait_until(lambda: not found.listed(()).problem, what="the archive's answer")


class TestTrials:
    """What is read of an archive, without a server before it."""

    @pytest.fixture
    def source(self, here: Installation, over: str) -> ArchiveSource:
        return ArchiveSource(here.archive)

    def test_what_is_read_is_read_once_and_anew_when_it_changed(
        self, here: Installation, over: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = here.shelf.trials(here.shelf.find(over))
        assert here.shelf.trials(here.shelf.find(over)) is opened
        key = f"{over}/experiment.json"
        here.archive.put(key, here.archive.get(key).replace(b'"reason": ""', b'"reason": "another"'))
        assert here.shelf.trials(here.shelf.find(over)) is not opened
        monkeypatch.setattr(shelf, "OPEN_MAX", 0)
        here.shelf.trials(here.shelf.find(over))
        assert not here.shelf._open

    def test_who_asks_while_it_is_read_is_told_how_far_it_came(
        self, source: ArchiveSource, over: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archived, "WAIT_S", 0.01)
        monkeypatch.setattr(ArchivedTrials, "_read", _nothing)
        trials = ArchivedTrials(source, ArchivedExperiment.read(source, over))
        trials._take(list(source.stream(over))[:2])
        columns = trials.columns()
        assert (columns.covered, columns.finished) == (2, 6)
        assert "being read: 2 trials so far" in trials.experiment().missing[-1]
        assert [trial.number for trial in trials.page(over)] == [0, 1]
        with pytest.raises(UnreachableError, match="try again"):
            trials.trials(over, [5])

    def test_what_cannot_be_read_is_told_to_everybody_and_tried_again(self, here: Installation, over: str) -> None:
        here.archive.put(f"{over}/results.jsonl", b"{}\n")
        broken = here.shelf.trials(here.shelf.find(over))
        with pytest.raises(ArchiveError, match="line 1 is no trial's record"):
            broken.best(over)
        assert here.shelf.trials(here.shelf.find(over)) is not broken

    def test_no_more_than_a_million_are_read(
        self, source: ArchiveSource, over: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archived, "ROWS_MAX", 4)
        trials = ArchivedTrials(source, ArchivedExperiment.read(source, over))
        assert trials.columns().covered == 4
        assert "the first 4 are shown" in trials.experiment().missing[-1]


def _nothing(_self: ArchivedTrials) -> None:
    return None


def test_folders_of_something_else_are_no_experiments(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    archive.put("data/abc", b"x")
    archive.put("notes/readme", b"x")
    archive.put("broken/experiment.json", b"{")
    found = shelf.Shelf(lambda: archive)
    assert list(found.listed(()).experiments) == []
    for name in ("data", "notes", "none", "latest"):
        with pytest.raises(NotFoundError):
            found.find(name)
