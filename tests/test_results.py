"""From the store to the archive and back from the archive alone."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optml_queue import plots, provenance, results
from optml_queue.archive.directory import DirectoryArchive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError, NotFoundError
from optml_queue.results import PART_LENGTH, TELLING, consolidate, write_opening, write_parts
from optml_queue.spec import Spec, parse_spec
from optml_queue.store.experiment import Experiment, ExperimentState
from optml_queue.trial import Attempt, Trial, TrialState

X = "lms-abcde"
SPEC = """
name: lms
algorithm: lms
method: grid
metric: {name: nmse, goal: minimize}
parameters:
  learning_rate: {values: [0.5, 1.0e-6, 5.0e-6]}
  filter_size: {value: 5}
seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def spec() -> Spec:
    return parse_spec(SPEC, "grid.yaml", Path.cwd())


class Log:
    """As much of a store as archiving needs: the trials, and the numbers in the order they finished."""

    def __init__(self, spec: Spec, size: int) -> None:
        self.trials = {n: trial(n) for n in range(size)}
        self.log: list[int] = []
        self.lines: dict[int, list[str]] = {}
        self.ended: dict[int, list[Attempt]] = {}
        self.archived = 0
        self.consolidated = -1
        self.state = ExperimentState.RUNNING
        self.spec = spec

    def finish(self, number: int, value: float = 0.5, state: TrialState = TrialState.COMPLETE) -> None:
        self.trials[number] = finished(self.trials[number], value, state, 1000.0 + len(self.log))
        self.log.append(number)

    def finish_all(self) -> None:
        for number in self.trials:
            self.finish(number, number + 0.5)
        self.state = ExperimentState.COMPLETE

    def experiment(self, experiment: str, /) -> Experiment:
        counts = dict.fromkeys(TrialState, 0)
        for each in self.trials.values():
            counts[each.state] += 1
        return Experiment(
            id=experiment,
            name="lms",
            state=self.state,
            spec=self.spec.to_json(),
            created_at=900.0,
            end=len(self.trials),
            next=len(self.trials),
            exhausted=True,
            counts=counts,
            metric="nmse",
            goal="minimize",
            resource_class="default",
            created=len(self.trials),
            finished=len(self.log),
            archived=self.archived,
            consolidated=self.consolidated,
            facts={"by": "a test"},
        )

    def finished(self, experiment: str, start: int, stop: int, /) -> Sequence[Trial]:
        trials = (self.trials[number] for number in self.log[start:stop])
        return [each for each in trials if each.state is not TrialState.QUEUED]

    def stream(self, experiment: str, /) -> Iterator[Trial]:
        return iter([self.trials[number] for number in sorted(self.trials)])

    def attempts(self, experiment: str, number: int, /) -> Sequence[Attempt]:
        return self.ended.get(number, [])

    def logged(self, experiment: str, /) -> Sequence[int]:
        return list(self.lines)

    def logs(self, experiment: str, number: int, /) -> Sequence[str]:
        return self.lines[number]

    def set_archived(self, experiment: str, position: int, /, *, if_was: int) -> bool:
        if self.archived != if_was:
            return False
        self.archived = position
        return True

    def set_consolidated(self, experiment: str, finished: int, /, *, if_was: int) -> bool:
        self.consolidated = finished
        return True


def trial(number: int) -> Trial:
    rate = (0.5, 1e-6, 5e-6)[number // 2 % 3]
    return Trial(number, TrialState.QUEUED, {"learning_rate": rate, "filter_size": 5}, number % 2, queued_at=900.0)


def finished(each: Trial, value: float, state: TrialState, at: float) -> Trial:
    return replace(
        each,
        state=state,
        metrics={"nmse": value, "mse": 2 * value} if state is TrialState.COMPLETE else {},
        attempts=1,
        worker="w1",
        started_at=at - 1.25,
        finished_at=at,
    )


@pytest.fixture
def archive(tmp_path: Path) -> DirectoryArchive:
    return DirectoryArchive(tmp_path / "archive")


@pytest.fixture
def source(archive: DirectoryArchive) -> ArchiveSource:
    return ArchiveSource(archive)


def parts(archive: DirectoryArchive) -> list[str]:
    return [key.rpartition("/")[2] for key in archive.keys(f"{X}/parts")]


# While it runs


def test_a_part_is_written_when_a_thousand_have_finished(archive: DirectoryArchive, spec: Spec) -> None:
    store = Log(spec, 2 * PART_LENGTH + 10)
    for number in range(PART_LENGTH - 1):
        store.finish(number)
    assert write_parts(store, archive, X) == 0
    for number in range(PART_LENGTH - 1, 2 * PART_LENGTH + 1):
        store.finish(number)
    assert write_parts(store, archive, X) == 2 * PART_LENGTH
    assert [name[:21] for name in parts(archive)] == ["0000000000-0000000999", "0000001000-0000001999"]
    assert store.archived == 2 * PART_LENGTH
    assert write_parts(store, archive, X) == 0
    assert write_parts(store, archive, X, force=True) == 1
    assert parts(archive)[2].startswith("0000002000-0000002000-")
    assert write_parts(store, archive, X, force=True) == 0


def test_two_archivists_write_the_same_part_once(archive: DirectoryArchive, spec: Spec) -> None:
    store = Log(spec, 4)
    for number in range(4):
        store.finish(number)

    class Overtaken(Log):
        def set_archived(self, experiment: str, position: int, /, *, if_was: int) -> bool:
            return False

    late = Overtaken(spec, 4)
    late.trials, late.log = store.trials, store.log
    assert write_parts(store, archive, X, force=True) == 4
    assert write_parts(late, archive, X, force=True) == 4
    assert len(parts(archive)) == 1


def test_a_running_experiment_can_be_read_from_its_parts(
    archive: DirectoryArchive, source: ArchiveSource, spec: Spec
) -> None:
    store = Log(spec, 6)
    write_opening(archive, store.experiment(X))
    for number in (4, 1, 3):
        store.finish(number, number / 10)
    write_parts(store, archive, X, force=True)
    store.finish(0)  # after the last part: lost with the store

    assert list(source.stream(X)) == [store.trials[1], store.trials[3], store.trials[4]]
    record = source.experiment(X)
    assert record.spec == spec.to_json()
    assert record.state is ExperimentState.RUNNING
    assert record.counts[TrialState.COMPLETE] == 3
    assert record.facts == {"by": "a test"}
    assert [each.number for each in source.best(X, 2)] == [1, 3]
    assert [each.number for each in source.finished(X, 0, 10)] == [4, 1, 3]


def test_the_last_record_of_a_reopened_trial_wins(archive: DirectoryArchive, source: ArchiveSource, spec: Spec) -> None:
    store = Log(spec, 2)
    write_opening(archive, store.experiment(X))
    store.finish(0, state=TrialState.FAILED)
    store.finish(1, state=TrialState.FAILED)
    write_parts(store, archive, X, force=True)
    assert [each.state for each in source.stream(X)] == ["failed", "failed"]
    store.trials[0] = trial(0)  # reopened
    store.finish(0, 0.25)
    write_parts(store, archive, X, force=True)
    assert [each.state for each in source.stream(X)] == ["complete", "failed"]


def test_entries_that_were_all_reopened_make_no_part(archive: DirectoryArchive, spec: Spec) -> None:
    store = Log(spec, 1)
    store.finish(0, state=TrialState.FAILED)
    store.trials[0] = trial(0)
    assert write_parts(store, archive, X, force=True) == 0
    assert (parts(archive), store.archived) == ([], 1)


# At its end


def test_the_final_files(archive: DirectoryArchive, spec: Spec) -> None:
    store = Log(spec, 6)
    store.finish_all()
    consolidate(store, archive, X)
    assert list(archive.keys(X)) == [
        f"{X}/{name}"
        for name in (
            "error.png",
            "experiment.json",
            "provenance.json",
            "results.csv",
            "results.jsonl",
            "spec.yaml",
            "summary.json",
        )
    ]
    assert store.consolidated == 6

    rows = list(csv.DictReader(io.StringIO(archive.get(f"{X}/results.csv").decode(), newline="")))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert list(rows[0])[:7] == ["number", "seed", "state", "learning_rate", "filter_size", "nmse", "mse"]
    assert rows[2]["learning_rate"] == "1e-06"
    assert rows[0]["run_s"] == "1.25"

    summary = json.loads(archive.get(f"{X}/summary.json"))
    assert summary["experiment"] == X
    assert summary["state"] == "complete"
    assert summary["log_position"] == 6
    assert summary["best"] == {
        "number": 0,
        "params": {"learning_rate": 0.5, "filter_size": 5},
        "seed": 0,
        "metric": "nmse",
        "value": 0.5,
    }
    assert summary["leaderboard"][0]["n"] == 2
    assert summary["leaderboard"][0]["mean"] == 1.0

    origin = json.loads(archive.get(f"{X}/provenance.json"))
    assert origin["submission"] == {"by": "a test"}
    assert origin["spec"]["parameters"]["learning_rate"]["values"] == [0.5, 1e-6, 5e-6]
    assert origin["archived_by"]["packages"]["numpy"]
    assert archive.get(f"{X}/error.png").startswith(b"\x89PNG")
    again = parse_spec(archive.get(f"{X}/spec.yaml").decode(), "spec.yaml", Path.cwd())
    assert again.space == spec.space


TWO = SPEC.replace("filter_size: {value: 5}", "filter_size: {values: [3, 5, 7]}")


def of_two_parameters(trials: int) -> Log:
    """Finished trials of an experiment where the rate alone makes a difference."""
    store = Log(parse_spec(TWO, "grid.yaml", Path.cwd()), trials)
    for number, each in store.trials.items():
        store.trials[number] = replace(each, params={**each.params, "filter_size": 3 + 2 * (number // 7 % 3)})
        store.finish(number, -float(store.trials[number].params["learning_rate"]))  # type: ignore[arg-type]
    return store


def test_the_summary_tells_which_parameter_matters(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told(store: Log) -> dict[str, float] | None:
        consolidate(store, archive, X)
        found: dict[str, float] | None = json.loads(archive.get(f"{X}/summary.json")).get("importance")
        return found

    enough = of_two_parameters(TELLING)
    shares = told(enough)
    assert shares is not None
    assert list(shares) == ["learning_rate", "filter_size"]
    assert shares["learning_rate"] > shares["filter_size"]
    assert told(of_two_parameters(TELLING - 1)) is None
    monkeypatch.setattr("optml_queue.study.importance", lambda *_: 1 / 0)
    assert told(enough) is None
    assert "no importance" in caplog.text
    monkeypatch.setattr(results, "find_spec", lambda _name: None)  # Optuna is not installed
    caplog.clear()
    assert told(enough) is None
    assert not caplog.text


def test_the_archive_alone_answers_as_the_store_did(
    archive: DirectoryArchive, source: ArchiveSource, spec: Spec
) -> None:
    store = Log(spec, 6)
    lost = Attempt(1, "w0", 950.0, 960.0, "lost", "the worker stopped beating")
    store.finish_all()
    store.trials[3] = replace(store.trials[3], attempts=2)
    store.finish(5, state=TrialState.FAILED)
    store.ended = {3: [lost], 5: [replace(lost, reason="error", traceback="a\nb")]}
    store.lines = {3: ["epoch 1", "épochs\tend"], 4: [""]}
    consolidate(store, archive, X)

    assert list(source.stream(X)) == list(store.stream(X))
    assert source.trials(X, [4, 99, 1]) == [store.trials[4], store.trials[1]]
    assert source.page(X, offset=2, limit=2) == [store.trials[2], store.trials[3]]
    assert source.page(X, TrialState.FAILED) == [store.trials[5]]
    assert source.page(X, TrialState.COMPLETE, 1, 2) == [store.trials[1], store.trials[2]]
    assert source.attempts(X, 3) == [lost]
    assert source.attempts(X, 5)[0].traceback == "a\nb"
    assert source.attempts(X, 0) == []
    assert source.logs(X, 3) == ["epoch 1", "épochs\tend"]
    assert source.logs(X, 3, 1) == ["épochs\tend"]
    assert (source.logs(X, 4), source.logs(X, 0)) == ([""], [])
    expected = replace(store.experiment(X), consolidated=7)
    assert source.experiment(X) == expected
    assert source.experiments() == [expected]


def test_what_finished_after_the_final_files_is_read_from_its_part(
    archive: DirectoryArchive, source: ArchiveSource, spec: Spec
) -> None:
    store = Log(spec, 2)
    store.finish(0, state=TrialState.FAILED)
    store.finish(1, 0.25)
    write_parts(store, archive, X, force=True)
    consolidate(store, archive, X)
    store.trials[0] = trial(0)
    store.finish(0, 0.125)
    write_parts(store, archive, X, force=True)
    assert list(source.stream(X)) == list(store.stream(X))
    assert source.experiment(X).counts[TrialState.COMPLETE] == 2
    consolidate(store, archive, X)
    assert source.experiment(X).consolidated == 3
    assert list(source.stream(X)) == list(store.stream(X))


def test_a_figure_that_cannot_be_drawn_does_not_keep_the_results_back(
    archive: DirectoryArchive, spec: Spec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise OverflowError("too large")

    monkeypatch.setattr(plots, "error_plot", broken)
    store = Log(spec, 2)
    store.finish_all()
    with caplog.at_level(logging.ERROR):
        consolidate(store, archive, X)
    assert "no error.png" in caplog.text
    assert archive.exists(f"{X}/results.csv")
    assert store.consolidated == 2


def test_a_crash_before_the_last_file_leaves_the_parts_in_force(
    archive: DirectoryArchive, source: ArchiveSource, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Log(spec, 3)
    write_opening(archive, store.experiment(X))
    store.finish_all()
    write_parts(store, archive, X, force=True)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("optml_queue.results._put_record", crash)
        with pytest.raises(KeyboardInterrupt):
            consolidate(store, archive, X)
    assert store.consolidated == -1
    assert list(source.stream(X)) == list(store.stream(X))
    consolidate(store, archive, X)
    assert source.experiment(X).consolidated == 3
    assert {"submitted_by", "archived_by"} <= json.loads(archive.get(f"{X}/provenance.json")).keys()


# Finding experiments


def test_experiments_are_found_newest_first(archive: DirectoryArchive, source: ArchiveSource, spec: Spec) -> None:
    with pytest.raises(NotFoundError, match="no experiment 'latest'"):
        source.resolve("latest")
    record = Log(spec, 1).experiment(X)
    write_opening(archive, replace(record, created_at=2.0, id="lms-later"))
    write_opening(archive, replace(record, created_at=1.0, id="lms-early"))
    archive.put("data/" + "0" * 64, b"1\n")
    archive.put("notes/readme.txt", b"not an experiment")
    assert [each.id for each in source.experiments()] == ["lms-later", "lms-early"]
    assert source.resolve("latest") == "lms-later"
    assert source.resolve("lms-early") == "lms-early"
    with pytest.raises(NotFoundError, match=r"did you mean lms-early"):
        source.resolve("lms-erly")
    for read in (source.experiment, source.stream, source.best):
        with pytest.raises(NotFoundError):
            read("../../etc")


def test_a_damaged_record_is_named_with_its_line(archive: DirectoryArchive, source: ArchiveSource, spec: Spec) -> None:
    store = Log(spec, 2)
    store.finish_all()
    consolidate(store, archive, X)
    lines = archive.get(f"{X}/results.jsonl").splitlines(keepends=True)
    archive.put(f"{X}/results.jsonl", lines[0] + b'{"number": 1\n')
    with pytest.raises(ArchiveError, match=r"lms-abcde/results.jsonl, line 2 is no trial's record"):
        list(source.stream(X))
    archive.put(f"{X}/experiment.json", b"[]")
    with pytest.raises(ArchiveError, match=r"experiment.json is no experiment's record"):
        source.experiment(X)


def test_a_record_of_another_version_is_read(archive: DirectoryArchive, source: ArchiveSource, spec: Spec) -> None:
    write_opening(archive, Log(spec, 1).experiment(X))
    document = json.loads(archive.get(f"{X}/experiment.json"))
    document["from_the_future"] = 1
    del document["recovered"]
    archive.put(f"{X}/experiment.json", json.dumps(document).encode())
    assert source.experiment(X).name == "lms"


def test_provenance_names_what_was_used(spec: Spec, tmp_path: Path) -> None:
    facts = provenance.facts(spec)
    assert facts["algorithm"] == {"name": "lms", "digest": spec.driver.digest}
    assert facts["data"]["kind"] == "sunspots"
    assert len(json.dumps(facts)) < 1_000  # it is read with every look at the experiment
    surroundings = provenance.surroundings()
    assert surroundings["machine"]["cpus"] >= 1
    assert surroundings["machine"]["memory_bytes"] > 1 << 20
    assert surroundings["packages"]["numpy"] == np.__version__
    json.dumps(surroundings)
    assert provenance.checkout(tmp_path) is None
