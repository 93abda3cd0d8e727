"""The verbs that read, over a source in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optml_queue.archive import open_archive
from optml_queue.cli.main import app
from optml_queue.store import ExperimentState, WorkerInfo
from optml_queue.trial import Attempt
from tests.cli.memory_source import MemorySource, trial

TRIALS = [
    trial(0),
    trial(1),
    trial(2, "diverged", metrics={"nmse": float("inf")}),
    trial(3, "failed", error="ValueError: x"),
]
Use = Callable[[MemorySource], MemorySource]


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def source(read_from: Use) -> MemorySource:
    return read_from(MemorySource(TRIALS))


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("verb", ["ls", "status", "trials", "best", "logs", "workers"])
def test_json_is_one_document_and_nothing_else(verb: str) -> None:
    assert isinstance(json.loads(run(verb, "--json")), list | dict)


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("verb", ["status", "trials", "best", "logs", "export", "plot"])
def test_a_wrong_id_is_bad_input_and_names_the_near_one(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "lms-k3f9b"])
    assert result.exit_code == 2
    assert "lms-k3f9a" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("source")
def test_the_status_tells_the_best_and_the_trouble() -> None:
    text = run("status", "latest")
    assert "4/4: 2 complete, 1 diverged, 1 failed" in text
    assert "nmse 0.1 at learning_rate 0.5, filter_size 5 (trial 0)" in text
    assert "1 trial failed, the first of them trial 3: ValueError: x" in text


def test_the_status_of_a_running_one_warns_when_nobody_works(read_from: Use) -> None:
    source = read_from(MemorySource(TRIALS, state=ExperimentState.RUNNING, finished_at=None, created=50))
    assert "none of class default" in run("status", "latest")
    assert json.loads(run("status", "latest", "--json"))["eta_s"] is None
    source.live = [WorkerInfo("w", {"class": "default"})]
    assert "1 of class default" in run("status", "latest")
    document = json.loads(run("status", "latest", "--json"))
    assert document["total"] == 50
    assert document["eta_s"] > 0


def test_the_overview_lists_only_what_is_not_over(read_from: Use) -> None:
    source = read_from(MemorySource(TRIALS))
    assert "nothing runs" in run("status")
    source.live = [
        WorkerInfo("a", {"class": "gpu"}),
        WorkerInfo("b", {"class": "cpu"}),
        WorkerInfo("c", {"class": "cpu"}),
    ]
    assert "3 workers: 2 cpu, 1 gpu" in run("status")


@pytest.mark.usefixtures("source")
def test_trials_are_chosen_by_state_sorted_and_paged() -> None:
    def numbers(*options: str) -> list[int]:
        return [each["number"] for each in json.loads(run("trials", "latest", "--json", *options))]

    assert numbers() == [0, 1, 2, 3]
    assert numbers("--state", "failed") == [3]
    assert numbers("--sort", "metric") == [0, 1]
    assert numbers("--sort", "finished", "--limit", "2", "--offset", "1") == [1, 2]
    assert numbers("--limit", "1", "--offset", "9") == []


def test_the_metric_sorts_the_best_first_whatever_the_goal(read_from: Use) -> None:
    read_from(MemorySource(TRIALS, goal="maximize"))
    assert [each["number"] for each in json.loads(run("trials", "--sort", "metric", "--json"))] == [1, 0]


@pytest.mark.usefixtures("source")
def test_infinities_are_text_in_json() -> None:
    assert json.loads(run("trials", "--state", "diverged", "--json"))[0]["metrics"]["nmse"] == "inf"


@pytest.mark.usefixtures("source")
def test_best_ranks_points() -> None:
    document = json.loads(run("best", "--top", "1", "--json"))
    assert document["points"] == [
        {"rank": 1, "number": 0, "params": TRIALS[0].params, "seed": 0, "metric": "nmse", "value": 0.1}
    ]


def test_best_says_when_there_is_none(read_from: Use) -> None:
    read_from(MemorySource([trial(0, "failed")]))
    assert "no complete trial yet" in run("best")


@pytest.mark.usefixtures("source")
def test_logs_tell_each_trial_as_it_ended() -> None:
    first, *_, last = run("logs", "latest").splitlines()
    assert "trial 0  complete  nmse 0.1  in 500 ms on default-a1b2c3@host" in first
    assert last.endswith("ValueError: x")


def test_logs_of_a_trial_show_its_lines_and_tracebacks(source: MemorySource) -> None:
    source.lines = ["epoch 1", "epoch 2"]
    source.ended_attempts = [Attempt(1, "w@host", 10.0, 12.5, "error", "ValueError: x", "Traceback:\n  here")]
    text = run("logs", "latest", "3").splitlines()
    assert text[:2] == ["epoch 1", "epoch 2"]
    assert text[2] == "attempt 1 on w@host ended after 2.5 s: error: ValueError: x"
    assert text[3:5] == ["    Traceback:", "      here"]


def test_the_report_tells_what_was_lost_and_came_back(read_from: Use) -> None:
    events = {
        "ended:lost": 3, "ended:released": 1, "attempts after the first": 4, "declined:stale message": 2,
        "duplicate results": 5, "refused results": 6, "late results": 1,
    }  # fmt: skip
    read_from(MemorySource(TRIALS, events=events, recovered=7))
    text = run("status", "latest", "--report")
    assert "6, 4 of them not the first of their trial" in text
    assert "3 lost, 1 released" in text
    assert "3: median 1.5 s, longest 9.0 s until the next attempt began" in text
    assert "7 taken for lost and published again" in text
    assert "2 stale message" in text
    assert "5 duplicate results, 6 of another's attempt" in text
    assert "1 result of attempts that were taken for lost" in text
    report = json.loads(run("status", "latest", "--report", "--json"))["report"]
    assert report["attempts_without_result"] == {"lost": 3, "released": 1}
    assert report["recoveries"] == {"count": 3, "median_s": 1.5, "max_s": 9.0}
    assert run("status", "--report", code=2) == ""


def test_failed_trials_say_why_and_how_to_run_them_again(source: MemorySource) -> None:
    source.ended_attempts = [Attempt(1, "w", 1.0, 2.0, "error", "ValueError: x", "Traceback …")]
    result = CliRunner().invoke(app, ["trials", "latest", "--state", "failed"])
    assert "ValueError: x" in result.stdout
    assert "optml retry lms-k3f9a --failed" in result.stderr
    [document] = json.loads(run("trials", "latest", "--state", "failed", "--json"))
    assert (document["error"], document["worker"], document["attempts"]) == ("ValueError: x", "default-a1b2c3@host", 1)
    assert document["failed_attempts"][0]["traceback"] == "Traceback …"


@pytest.mark.usefixtures("source")
def test_an_unknown_trial_is_bad_input() -> None:
    assert "no trial 99" in CliRunner().invoke(app, ["logs", "latest", "99"]).stderr
    run("logs", "latest", "99", code=2)


@pytest.mark.usefixtures("source")
def test_export_writes_a_table_to_stdout() -> None:
    rows = list(csv.DictReader(io.StringIO(run("export", "latest"))))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[2]["nmse"] == "inf"
    assert len(run("export", "latest", "-f", "jsonl").splitlines()) == 4


@pytest.mark.usefixtures("source")
def test_export_takes_the_format_from_the_files_name(tmp_path: Path) -> None:
    run("export", "latest", "-o", str(tmp_path / "trials.parquet"))
    assert (tmp_path / "trials.parquet").read_bytes().startswith(b"PAR1")
    assert [path.name for path in tmp_path.iterdir()] == ["trials.parquet"]


@pytest.mark.usefixtures("source")
def test_an_export_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    run("export", "latest", "-o", str(tmp_path / "nowhere" / "trials.csv"), code=2)
    run("export", "latest", "-f", "xls", code=2)


def test_the_best_trials_artifacts_are_fetched(source: MemorySource, tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    id_ = source.experiments()[0].id
    arguments = ["best", "--archive", str(tmp_path / "archive"), "--fetch", str(tmp_path / "best")]
    assert "its best trial, 0, kept no artifacts" in CliRunner().invoke(app, arguments).stderr
    archive.put(f"{id_}/artifacts/0/model/weights.bin", b"weights")
    archive.put(f"{id_}/artifacts/1/model.bin", b"of another")
    document = json.loads(run(*arguments, "--json"))
    assert document["fetched"] == [str(tmp_path / "best" / "model" / "weights.bin")]
    assert (tmp_path / "best" / "model" / "weights.bin").read_bytes() == b"weights"


def test_there_is_nothing_to_fetch_before_a_trial_is_complete(read_from: Use, tmp_path: Path) -> None:
    read_from(MemorySource([trial(0, "failed", error="x")]))
    run("best", "--archive", str(tmp_path), "--fetch", str(tmp_path / "best"), code=2)


def test_the_log_of_a_trial_has_what_its_attempts_wrote(read_from: Use, tmp_path: Path) -> None:
    source = read_from(MemorySource([trial(0, attempts=3)]))
    source.ended_attempts = [Attempt(1, "w", 1.0, 2.0, "crashed", "crashed (SIGSEGV)", "", "the end of it\n")]
    archive = open_archive(str(tmp_path))
    id_ = source.experiments()[0].id
    archive.put(f"{id_}/logs/0-3.txt", b"hello\nworld\n")
    lines = run("logs", "latest", "0", "--archive", str(tmp_path)).splitlines()
    assert lines[:-1] == [
        "attempt 1 on w ended after 1.0 s: crashed: crashed (SIGSEGV)",
        "  it wrote:",
        "    the end of it",
        "attempt 3 wrote:",
        "    hello",
        "    world",
    ]
    archive.put(f"{id_}/logs/0-1.txt", b"all of it\n")
    assert "    all of it" in run("logs", "latest", "0", "--archive", str(tmp_path))
    document = json.loads(run("logs", "latest", "0", "--archive", str(tmp_path), "--json"))
    assert document["outputs"] == {"1": "all of it\n", "3": "hello\nworld\n"}
    assert document["attempts"][0]["output"] == "the end of it\n"
