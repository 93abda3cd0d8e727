"""Trials in the foreground: those that a queue would run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from optml_queue.archive import open_archive
from optml_queue.cli.main import app
from optml_queue.experiments import with_files
from optml_queue.provenance import facts
from optml_queue.restoration import submission_of
from optml_queue.results import write_opening
from optml_queue.spec import parse_spec
from optml_queue.store import Experiment
from optml_queue.trial import Trial, TrialState

PROGRAM = """
def train(trial):
    x = trial.params["x"]
    trial.report(1, x)
    trial.report(2, x / 2)
    return {"loss": x / 2, "size": 10 * x}
"""
GRID = """
name: grid
program: code
metrics: [loss, size]
parameters: {x: {values: [1, 2, 3, 4]}}
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a spec in a folder whose archive has results of x = 1, 3 and 11 to 50, other ones than they have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(PROGRAM)
    archive = open_archive("optml-results")
    spec = with_files(archive, parse_spec(GRID, "grid.yaml", tmp_path), None)
    write_opening(archive, replace(Experiment.opened("grid-k3f9a", submission_of(spec, facts(spec))), created_at=1.0))
    known = [Trial(x - 1, TrialState.COMPLETE, {"x": x}, 0, {"loss": 9.5, "size": 1.0}) for x in (1, 3, *range(11, 51))]
    lines = "".join(f"{trial.to_json()}\n" for trial in known)
    archive.put("grid-k3f9a/parts/0000000000-0000000041-00.jsonl", lines.encode())

    def run(text: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["run", "-", *arguments], input=text)

    return run


def test_results_of_earlier_experiments_are_taken_over_and_said(run: Run) -> None:
    found = run(f"{GRID}reuse: true\n")
    assert found.exit_code == 0
    heads = [line.split(" in ")[0] for line in found.stdout.splitlines() if line.startswith("trial")]
    reused = "complete, reused from grid-k3f9a/{}: loss 9.5, size 1"
    assert heads == [
        f"trial 0 {reused.format(0)}",
        "trial 1 complete",
        f"trial 2 {reused.format(2)}",
        "trial 3 complete",
    ]
    assert "May reuse 42 results of 1 earlier experiment with the same code and data" in found.stderr
    documents = json.loads(run(f"{GRID}reuse: true\n", "--json").stdout)
    assert [document.get("origin") for document in documents] == [
        {"reused_from": "grid-k3f9a/0"},
        None,
        {"reused_from": "grid-k3f9a/2"},
        None,
    ]
    assert "reused" not in run(GRID).stdout


def test_a_trial_that_is_asked_for_runs_in_any_case(run: Run) -> None:
    found = run(f"{GRID}reuse: true\n", "--trial", "2")
    assert "trial 2 complete in " in found.stdout
    assert "loss 1.5, size 30" in found.stdout
    assert run(f"{GRID}reuse: true\n", "--trial", "4").exit_code == 2


def test_earlier_experiments_are_found_in_the_folder_that_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "optml-results").rename(tmp_path / "elsewhere")
    assert "May reuse 0 results" in run(f"{GRID}reuse: true\n").stderr
    assert "reused from grid-k3f9a/0" in run(f"{GRID}reuse: true\n", "--results", "elsewhere").stdout


def test_rules_and_constraints_hold_as_in_a_queue(run: Run) -> None:
    ending = "early_stopping: {method: asha, reduction: 2}\nconstraints: ['size < 10']\n"
    found = run(GRID + ending).stdout.splitlines()
    assert [line.split(" in ")[0] for line in found if line.startswith("trial")] == [
        "trial 0 complete",
        *[f"trial {number} stopped early" for number in (1, 2, 3)],
    ]
    assert "    infeasible: size < 10" in found


def test_a_search_starts_from_what_is_known(run: Run) -> None:
    search = GRID.replace("{values: [1, 2, 3, 4]}", "{min: 0, max: 99}") + "method: evolution\nmax_trials: 4\n"
    found = run(f"{search}start_from: latest\n")
    assert "Starts from grid-k3f9a: 42 of 42 trials are used" in found.stderr
    points = [line for line in found.stdout.splitlines() if line.startswith("    ")]
    assert len(points) == 4
    assert points != [line for line in run(search).stdout.splitlines() if line.startswith("    ")]
    unknown = run(f"{search}start_from: grid-xxxxx\n")
    assert unknown.exit_code == 2
    assert "<stdin>:8: start_from: " in unknown.stderr
    assert "has no experiment 'grid-xxxxx'" in unknown.stderr
    # Lines of a spec that was changed are those of no file.
    assert "<stdin>: start_from: " in run(search, "--set", "start_from=grid-xxxxx").stderr
