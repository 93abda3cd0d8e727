"""Early stopping, target, budget, metrics, constraints and `retain` survive YAML and the store's JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from optml_queue.budget import Budget
from optml_queue.driver import Goal
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import SpecError
from optml_queue.restoration import submission_of
from optml_queue.runner import run_serial
from optml_queue.spec import Spec, parse_spec
from optml_queue.trial import TrialState

TEXT = """
name: t
program: train.py
metrics: [{name: loss, at: best}, {name: size, goal: maximize}, duration_s]
constraints: ["size < 7 and level < 5"]
early_stopping: {method: hyperband, min_steps: 2, max_steps: 9}
target: 1
budget: {trials: 3, worker_hours: 2.5, wall: 2h}
retain: summary
parameters: {level: {values: [0, 1, 2]}}
"""
PROGRAM = """
def train(trial):
    for step in (1, 2, 3):
        trial.report(step, trial.params["level"])
    return {"loss": trial.params["level"], "size": 6 + trial.params["level"]}
"""


def spec_of(folder: Path, text: str = TEXT) -> Spec:
    (folder / "train.py").write_text(PROGRAM)
    return parse_spec(text, "t.yaml", folder)


def test_they_are_read_and_survive(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert spec.early_stopping == EarlyStopping("hyperband", 2, 3, 9)
    assert spec.budget == Budget(3, 2.5, 7200.0)
    assert [(metric.name, metric.goal) for metric in spec.metrics] == [
        ("loss", Goal.MINIMIZE),
        ("size", Goal.MAXIMIZE),
        ("duration_s", Goal.MINIMIZE),
    ]
    again = Spec.from_json(spec.to_json())
    assert again.to_dict() == spec.to_dict()
    assert (again.at, again.target, again.metrics) == ("best", 1.0, spec.metrics)
    assert submission_of(again, {}).fields()["retain"] == again.retain == "summary"
    assert again.constraints[0].evaluate({"size": 6, "level": 4})
    assert spec_of(tmp_path, spec.to_yaml()).to_dict() == spec.to_dict()


def test_a_search_that_learns_keeps_its_results_in_the_store(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="retain: summary rules out a search that learns: tpe reads all results"):
        spec_of(tmp_path, f"{TEXT}method: [{{random: 2}}, {{tpe: rest}}]\nmax_trials: 9\n")
    with pytest.raises(SpecError, match="retain: must be 'all' or 'summary', got 'none'"):
        spec_of(tmp_path, TEXT.replace("summary", "none"))


def test_a_serial_run_stops_early_and_keeps_constraints(tmp_path: Path) -> None:
    rule = "early_stopping: {method: asha, reduction: 2, max_steps: 3}"
    lines = [line for line in TEXT.splitlines() if not line.startswith("early_stopping")]
    results = dict(run_serial(spec_of(tmp_path, "\n".join([*lines, rule]))))
    assert [results[n].state for n in range(3)] == [TrialState.COMPLETE, *[TrialState.STOPPED_EARLY] * 2]
    assert results[0].reason == ""
    assert results[0].metrics["duration_s"] >= 0
    assert results[1].reason == "stopped early at step 1"
    assert results[1].metrics == {"loss": 1.0}
