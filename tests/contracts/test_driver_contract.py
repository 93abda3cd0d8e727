"""What every driver promises: of the algorithms that come with the package, of users' programs, of commands."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optml_queue.data import KINDS, DataSpec, Series, Table, load
from optml_queue.driver import ActiveTrial, Driver, Goal, Order, algorithm_names, load_driver
from optml_queue.errors import AttemptEndedError, AttemptFailedError
from optml_queue.runner import run_attempt
from optml_queue.trial import Params, Reason, TrialResult, TrialState
from tests.contracts import stand_ins

# A point of each algorithm that trains in milliseconds, with the parameters that have no default.
POINTS: dict[str, Params] = {
    "ann": {"learning_rate": 0.1, "network_size": [4], "epochs": 1},
    "klms": {"learning_step": 0.04, "kernel_width": 2e-5, "epsilon": 40.0},
    "lms": {"learning_rate": 1e-6},
    "sklearn": {"estimator": "sklearn.linear_model.SGDClassifier", "max_iter": 100, "folds": 2},
    **{form: {"rate": 0.1} for form in stand_ins.FORMS},
}
# The parameter that counts the steps which an algorithm reports, if it does.
STEPS = {"ann": "epochs", "klms": "epochs", "lms": "epochs", "sklearn": "folds"}
STEPS |= dict.fromkeys(stand_ins.FORMS, "epochs")
# What makes such a point run away, if anything does.
RUN_AWAY: dict[str, dict[str, Any]] = {
    "ann": {"learning_rate": 1e30},
    "klms": {"learning_step": 1e3},
    "lms": {"learning_rate": 1e3},
    "sklearn": {"learning_rate": "constant", "eta0": 1e308},
    **{form: {"rate": 1e30, "epochs": 9} for form in stand_ins.FORMS},
}
# Algorithms that begin with nothing random.
SEEDLESS = {"klms"}
# Data that need no file of the user's and no network.
READY = ("sunspots", "channel", "digits")


# What the trainer of stand_ins.py does, and how the attempt ends in each form.
ENDINGS: dict[str, dict[str, Reason]] = {
    "fail": {"algorithm": Reason.ERROR, "program": Reason.ERROR, "command": Reason.EXIT_CODE},
    "memory": dict.fromkeys(stand_ins.FORMS, Reason.OUT_OF_MEMORY),
    "missing": dict.fromkeys(stand_ins.FORMS, Reason.NO_METRIC),
    "not a number": dict.fromkeys(stand_ins.FORMS, Reason.BAD_METRIC),
}


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Driver]:
    """All drivers: those of the package by their names, the others by their form."""
    folder = tmp_path_factory.mktemp("stand-ins")
    installed = {name: load_driver(name) for name in algorithm_names()}
    return installed | {form: make(folder) for form, make in stand_ins.FORMS.items()}


@pytest.fixture(params=[*algorithm_names(), *stand_ins.FORMS])
def driver(request: pytest.FixtureRequest, drivers: dict[str, Driver]) -> Driver:
    return drivers[request.param]


def key(driver: Driver) -> str:
    """What a driver goes by in the tables above."""
    return driver.name if driver.name in algorithm_names() else driver.kind


def active(
    driver: Driver, *, seed: int = 0, report: Callable[[int, float], Order] | None = None, **more: Any
) -> ActiveTrial:
    data = load(DataSpec(driver.data[0])) if driver.data else None
    trial = ActiveTrial(0, {**POINTS[key(driver)], **more}, seed, data)
    if report is not None:
        trial.on_report = report
    return trial


def content(data: Series | Table | None) -> bytes:
    if data is None:
        return b""
    if isinstance(data, Series):
        return data.values.tobytes()
    return b"".join(part.inputs.tobytes() + part.targets.tobytes() for part in (data.train, data.validation, data.test))


def run(driver: Driver, trial: ActiveTrial) -> TrialResult:
    return run_attempt(driver, trial.data, trial, metric=next(iter(driver.metrics)))


def test_the_catalogue_is_not_empty() -> None:
    assert "lms" in algorithm_names()
    assert set(POINTS) == {*algorithm_names(), *stand_ins.FORMS}


def test_declarations_are_complete(driver: Driver) -> None:
    assert set(driver.data) <= set(KINDS)
    assert driver.kind != "algorithm" or all(metric.help for metric in driver.metrics.values())
    assert all(parameter.help for parameter in driver.parameters.values())
    assert {metric.goal for metric in driver.metrics.values()} <= set(Goal)


def test_the_example_point_keeps_the_declarations(driver: Driver) -> None:
    point = driver.complete(POINTS[key(driver)])
    declared = {name: value for name, value in point.items() if name in driver.parameters}
    assert set(declared) == set(driver.parameters)
    assert [driver.parameters[name].problem(value) for name, value in declared.items()] == [""] * len(declared)
    assert declared == point or driver.other_parameters
    assert driver.check is None or driver.check(point) == {}


def test_an_algorithm_with_parameters_of_its_own_names_unknown_ones(driver: Driver) -> None:
    if driver.check is not None and driver.other_parameters and driver.kind == "algorithm":
        assert set(driver.check(driver.complete({**POINTS[driver.name], "no_such_parameter": 1}))) == {
            "no_such_parameter"
        }


def test_a_trial_returns_every_declared_metric(driver: Driver) -> None:
    result = run(driver, active(driver))
    assert result.state is TrialState.COMPLETE
    required = {name for name, metric in driver.metrics.items() if not metric.optional}
    assert required | {next(iter(driver.metrics))} <= set(result.metrics) <= set(driver.metrics)
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_the_seed_alone_decides_the_result(driver: Driver) -> None:
    first, again = run(driver, active(driver, seed=5)), run(driver, active(driver, seed=5))
    assert first == again
    assert (run(driver, active(driver, seed=6)) == first) == (key(driver) in SEEDLESS)


def test_every_kind_of_named_data_is_taken(driver: Driver) -> None:
    for kind in set(driver.data) & set(READY):
        trial = active(driver)
        trial.data = load(DataSpec(kind))
        assert run(driver, trial).state in {TrialState.COMPLETE, TrialState.DIVERGED}


def test_shared_data_are_left_as_they_were(driver: Driver) -> None:
    trial = active(driver)
    before = content(trial.data)
    run(driver, trial)
    assert content(trial.data) == before


def test_metrics_survive_json(driver: Driver) -> None:
    metrics = dict(run(driver, active(driver)).metrics)
    assert json.loads(json.dumps(metrics)) == metrics


def test_reports_count_up_from_one_and_orders_are_obeyed(driver: Driver) -> None:
    steps: list[int] = []

    def report(step: int, value: float) -> Order:
        assert math.isfinite(value)
        steps.append(step)
        return Order.CANCEL if len(steps) == 3 else Order.OK

    if key(driver) in STEPS:
        with pytest.raises(AttemptEndedError):
            run(driver, active(driver, report=report, **{STEPS[key(driver)]: 10}))
        assert steps == [1, 2, 3]
    else:
        run(driver, active(driver, report=report))
        assert steps == []


def test_cost_grows_with_the_data(driver: Driver) -> None:
    if driver.cost is not None:
        point = driver.complete(POINTS[key(driver)])
        assert 0 < driver.cost(point, 100) < driver.cost(point, 1000)


@pytest.mark.parametrize("name", sorted(RUN_AWAY))
def test_divergence_is_a_state_and_never_a_crash(name: str, drivers: dict[str, Driver]) -> None:
    driver = drivers[name]
    assert run(driver, active(driver, **RUN_AWAY[name])).state is TrialState.DIVERGED


@pytest.mark.parametrize("behaviour", sorted(ENDINGS))
@pytest.mark.parametrize("form", sorted(stand_ins.FORMS))
def test_an_attempt_without_a_result_has_a_reason_with_a_name(
    form: str, behaviour: str, drivers: dict[str, Driver]
) -> None:
    driver = drivers[form]
    with pytest.raises(AttemptFailedError) as raised:
        run(driver, active(driver, behaviour=behaviour))
    assert raised.value.reason == ENDINGS[behaviour][form]
    assert behaviour != "fail" or "no such column: x" in raised.value.error


@pytest.mark.parametrize("form", sorted(stand_ins.FORMS))
def test_a_flood_of_output_is_no_failure(form: str, drivers: dict[str, Driver], capfd: Any) -> None:
    driver = drivers[form]
    assert run(driver, active(driver, behaviour="flood")).state is TrialState.COMPLETE
    assert "line 19999 " in "".join(capfd.readouterr())


def test_a_trial_leaves_nothing_behind(driver: Driver, tmp_path: Path) -> None:
    trial = active(driver)
    trial.scratch_root = tmp_path
    run(driver, trial)
    assert list(tmp_path.iterdir()) == []


def test_the_module_name_is_private(driver: Driver) -> None:
    run(driver, active(driver))
    assert driver.kind != "algorithm" or driver.train.__module__.startswith(f"optml_algorithm_{driver.name}_")
    assert not {"driver", "functions", "train", "behave"} & set(sys.modules)
