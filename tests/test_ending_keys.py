"""Early stopping, target, budget, metrics, constraints and `retain` survive YAML and the store's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from optml_queue.budget import Budget
from optml_queue.driver import Goal
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import SpecError
from optml_queue.restoration import submission_of
from optml_queue.runner import SerialRun, run_serial
from optml_queue.search.start import NO_START, Start
from optml_queue.spec import Spec, parse_spec
from optml_queue.store import ReusedResult
from optml_queue.trial import Params, TrialState

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


@dataclass(frozen=True)
class Curves:
    """Results of earlier trials that would be the same, by their first value; each has its curve."""

    curves: Mapping[int, Mapping[int, float]]
    enters_rungs: bool = True
    start: Start = NO_START

    def find(self, params: Params, _seed: int, /) -> ReusedResult | None:
        level = int(str(params["level"]))
        if level not in self.curves:
            return None
        last = f'{{"loss":{self.curves[level][9]}}}'
        return ReusedResult("e", level, f"e/{level}", TrialState.COMPLETE, last, '""', self.enters_rungs)

    def curve(self, _experiment: str, number: int, /) -> Mapping[int, float]:
        return self.curves[number]


def states(spec: Spec, prior: Curves | None = None) -> dict[int, TrialState]:
    run, found = SerialRun(spec, prior=prior), {}
    for number, params, seed in run:
        done = run.reused(number, params, seed) or run.run(number, params, seed)
        run.tell(number, done.result)
        found[number] = done.result.state
        assert bool(done.reused_from) == (prior is not None and number in prior.curves)
    return found


@pytest.mark.parametrize("rule", ["{method: asha, reduction: 2}", "{method: hyperband, reduction: 2, max_steps: 12}"])
def test_who_is_stopped_does_not_depend_on_who_is_reused(tmp_path: Path, rule: str) -> None:
    """Others are stopped as if those with a result had run, where no rule chose these."""
    (tmp_path / "curves.py").write_text(PROGRAM_OF_CURVES)
    levels = ", ".join(map(str, range(40)))
    body = f"name: t\nprogram: curves.py\nmetric: loss\nparameters: {{level: {{values: [{levels}]}}}}\n"
    spec = parse_spec(f"{body}early_stopping: {rule}\n", "t.yaml", tmp_path)
    ran = states(spec)
    assert len({ran[n] for n in range(0, 40, 3)}) == len({ran[n] for n in range(1, 40, 3)}) == 2
    curves = {n: {step: _loss(n, step) for step in range(1, 10)} for n in range(0, 40, 3)}
    with_reused = states(spec, Curves(curves))
    assert {with_reused[n] for n in curves} == {TrialState.COMPLETE}
    assert {n: state for n, state in with_reused.items() if n not in curves} == {
        n: state for n, state in ran.items() if n not in curves
    }
    assert states(spec, Curves(curves, enters_rungs=False)) != with_reused


def _loss(level: int, step: int) -> float:
    return (level * 17 % 41 + 80 - 2 * level) / step


PROGRAM_OF_CURVES = """
def train(trial):
    level = trial.params["level"]
    for step in range(1, 10):
        loss = (level * 17 % 41 + 80 - 2 * level) / step
        trial.report(step, loss)
    return {"loss": loss}
"""
