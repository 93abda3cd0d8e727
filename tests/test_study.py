"""An experiment as a study of Optuna's, and what is read off it."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from optml_queue.errors import InputError
from optml_queue.hints import Findings, hints
from optml_queue.pareto import front
from optml_queue.search import adaptive
from optml_queue.spec import Spec, parse_spec
from optml_queue.study import importance, write_study
from optml_queue.trial import Params, Trial, TrialState

TEXT = """
name: t
algorithm: lms
method: random
max_trials: 50
parameters:
  learning_rate: {min: 1e-6, max: 1.0, scale: log}
  filter_size: {min: 1, max: 40}
"""


@pytest.fixture
def spec() -> Spec:
    return parse_spec(TEXT, "t.yaml", Path.cwd())


def ended(number: int, params: Params, value: float, state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, state, params, 0, {"nmse": value}, started_at=1e9 + number, finished_at=1e9 + number + 0.5)


def rate_matters(number: int) -> Trial:
    rate = 10.0 ** -(6 * ((number * 0.618) % 1))
    return ended(number, {"learning_rate": rate, "filter_size": 1 + number % 40}, abs(math.log10(rate) + 3))


def test_optuna_opens_what_is_exported(spec: Spec, tmp_path: Path) -> None:
    trials = [rate_matters(number) for number in range(20)]
    trials.append(ended(25, {"learning_rate": 0.9, "filter_size": 3}, math.nan, TrialState.DIVERGED))
    trials.append(ended(26, {"learning_rate": 0.5, "filter_size": 3}, 7.0, TrialState.STOPPED_EARLY))
    trials.append(Trial(27, TrialState.RUNNING, {"learning_rate": 0.5, "filter_size": 4}, 0))
    with (tmp_path / "study.log").open("wb") as out:
        write_study(trials, spec, "t-abcde", out)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="t-abcde", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 20 + ["FAIL", "PRUNED"]
    best = min(trials[:20], key=lambda trial: trial.metrics["nmse"])
    assert study.best_params == best.params
    assert study.best_value == best.metrics["nmse"]
    assert [trial.user_attrs["number"] for trial in study.trials] == [*range(20), 25, 26]


def test_several_metrics_are_a_study_of_several_objectives(tmp_path: Path) -> None:
    spec = parse_spec(TEXT + "metrics: [{name: nmse}, {name: mse}]\n", "t.yaml", Path.cwd())
    figures = map(rate_matters, range(9))
    trials = [replace(each, metrics={**each.metrics, "mse": each.number % 7.0}) for each in figures]
    lacks_one = ended(9, {"learning_rate": 0.5, "filter_size": 3}, 0.001)
    stopped = ended(10, {"learning_rate": 0.5, "filter_size": 4}, 7.0, TrialState.STOPPED_EARLY)
    with (tmp_path / "study.log").open("wb") as out:
        write_study([*trials, lacks_one, stopped], spec, "t-abcde", out)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="t-abcde", storage=optuna.storages.JournalStorage(backend))
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["nmse", "mse"]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 9 + ["FAIL", "PRUNED"]
    assert study.trials[10].user_attrs["metric: nmse"] == 7.0
    best = {trial.user_attrs["number"] for trial in study.best_trials}
    assert best == {trial.number for trial in front(trials, spec.metrics)}


def test_the_parameter_that_matters_comes_first(spec: Spec) -> None:
    found = importance([rate_matters(number) for number in range(60)], spec)
    assert next(iter(found)) == "learning_rate"
    assert found["learning_rate"] > 0.8
    assert sum(found.values()) == pytest.approx(1.0)


def test_too_few_trials_tell_nothing(spec: Spec) -> None:
    assert importance([rate_matters(number) for number in range(3)], spec) == {}


def test_a_best_value_at_the_edge_is_said() -> None:
    trials = [ended(i, {"learning_rate": 0.1 * (i + 1), "filter_size": 5}, float(i)) for i in range(5)]
    (hint,) = hints(Findings.of(trials, "nmse"), "minimize")
    assert hint.kind == "edge"
    assert "smallest that was tried" in hint.text


LISTED = """
name: t
algorithm: ann
method: evolution
max_trials: 50
parameters:
  learning_rate: {value: 0.1}
  network_size: {list: {of: [8, 16, 32], min_length: 1, max_length: 3}}
"""


def test_a_list_is_a_length_and_its_elements_in_a_study(tmp_path: Path) -> None:
    spec = parse_spec(LISTED, "t.yaml", Path.cwd())
    point: Params = {"learning_rate": 0.1}
    trials = [ended(n, {**point, "network_size": spec.space.axes[1].value(n)}, float(n)) for n in range(39)]
    trials.append(ended(40, {**point, "network_size": [64, 8]}, 50.0))  # of an earlier search, which had 64, too
    trials = [replace(trial, metrics={"error_rate": trial.metrics["nmse"]}) for trial in trials]
    with (tmp_path / "study.log").open("wb") as out:
        write_study(trials, spec, "t-abcde", out)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="t-abcde", storage=optuna.storages.JournalStorage(backend))
    params = [trial.params for trial in study.trials]
    assert params[0] == {"network_size.length": 1, "network_size[0]": 8}
    assert params[38] == {"network_size.length": 3, **{f"network_size[{place}]": 32 for place in range(3)}}
    assert params[39] == {"network_size.length": 2, "network_size[1]": 8}
    found = importance(trials, spec)
    assert next(iter(found)) == "network_size.length"


def test_hints_tell_of_the_lengths_of_lists() -> None:
    trials = [ended(n, {"network_size": [8] * (n % 4 + 1)}, float(-(n % 4))) for n in range(8)]
    (hint,) = hints(Findings.of(trials, "nmse"), "minimize")
    assert hint.text == "The best len(network_size), 4, is the largest that was tried: try larger ones."


def test_a_study_may_be_empty(spec: Spec) -> None:
    out = io.BytesIO()
    write_study([], spec, "empty", out)
    assert b"empty" in out.getvalue()


def test_optuna_is_loaded_only_where_it_is_needed() -> None:
    asked = "import sys, optml_queue.worker.control, optml_queue.cli.experiments; print('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_missing_package_is_said_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "find_spec", lambda _name: None)
    with pytest.raises(
        InputError, match=r"gp needs optuna and scipy and torch.*pip install 'optml-queue\[search,torch\]'"
    ):
        adaptive.require("gp")
    adaptive.require("evolution")
