"""What every algorithm that comes with the package promises."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

import pytest

from optml_queue.data import KINDS, DataSpec, load
from optml_queue.driver import ActiveTrial, Driver, Goal, Order, algorithm_names, load_driver
from optml_queue.errors import AttemptEndedError, DivergedError
from optml_queue.runner import run_attempt
from optml_queue.trial import Params, TrialResult, TrialState

# A point of each algorithm that trains in milliseconds, with the parameters that have no default.
POINTS: dict[str, Params] = {
    "lms": {"learning_rate": 1e-6},
}
# The parameter that counts the steps of each algorithm which reports them.
STEPS = {"lms": "epochs"}


@pytest.fixture(params=algorithm_names())
def driver(request: pytest.FixtureRequest) -> Driver:
    return load_driver(request.param)


def active(
    driver: Driver, *, seed: int = 0, report: Callable[[int, float], Order] | None = None, **more: int
) -> ActiveTrial:
    trial = ActiveTrial(0, {**POINTS[driver.name], **more}, seed, load(DataSpec(driver.data[0])))
    if report is not None:
        trial.on_report = report
    return trial


def run(driver: Driver, trial: ActiveTrial) -> TrialResult:
    return run_attempt(driver, trial.data, trial, metric=next(iter(driver.metrics)))


def test_the_catalogue_is_not_empty() -> None:
    assert "lms" in algorithm_names()
    assert set(POINTS) == set(algorithm_names())


def test_declarations_are_complete(driver: Driver) -> None:
    assert set(driver.data) <= set(KINDS)
    assert all(metric.help for metric in driver.metrics.values())
    assert all(parameter.help for parameter in driver.parameters.values())
    assert {metric.goal for metric in driver.metrics.values()} <= set(Goal)


def test_the_example_point_keeps_the_declarations(driver: Driver) -> None:
    point = driver.complete(POINTS[driver.name])
    assert set(point) == set(driver.parameters)
    assert [driver.parameters[name].problem(value) for name, value in point.items()] == [""] * len(point)


def test_a_trial_returns_every_declared_metric(driver: Driver) -> None:
    result = run(driver, active(driver))
    assert result.state is TrialState.COMPLETE
    assert set(result.metrics) == set(driver.metrics)
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_the_seed_alone_decides_the_result(driver: Driver) -> None:
    first, again = run(driver, active(driver, seed=5)), run(driver, active(driver, seed=5))
    assert first == again
    assert run(driver, active(driver, seed=6)) != first


def test_every_kind_of_named_data_is_taken(driver: Driver) -> None:
    for kind in set(driver.data) - {"csv"}:
        trial = active(driver)
        trial.data = load(DataSpec(kind))
        assert run(driver, trial).state in {TrialState.COMPLETE, TrialState.DIVERGED}


def test_shared_data_are_left_as_they_were(driver: Driver) -> None:
    trial = active(driver)
    before = trial.data.values.tobytes()
    run(driver, trial)
    assert trial.data.values.tobytes() == before


def test_metrics_survive_json(driver: Driver) -> None:
    metrics = dict(run(driver, active(driver)).metrics)
    assert json.loads(json.dumps(metrics)) == metrics


def test_reports_count_up_from_one_and_orders_are_obeyed(driver: Driver) -> None:
    steps: list[int] = []

    def report(step: int, value: float) -> Order:
        assert math.isfinite(value)
        steps.append(step)
        return Order.CANCEL if len(steps) == 3 else Order.OK

    with pytest.raises(AttemptEndedError):
        run(driver, active(driver, report=report, **{STEPS[driver.name]: 10}))
    assert steps == [1, 2, 3]


def test_cost_grows_with_the_data(driver: Driver) -> None:
    if driver.cost is not None:
        point = driver.complete(POINTS[driver.name])
        assert 0 < driver.cost(point, 100) < driver.cost(point, 1000)


def test_divergence_is_a_state_and_never_a_crash(driver: Driver) -> None:
    with pytest.raises(DivergedError):
        driver.train(
            ActiveTrial(0, driver.complete({**POINTS[driver.name], "learning_rate": 1e3}), 0, active(driver).data)
        )


def test_the_module_name_is_private(driver: Driver) -> None:
    assert driver.train.__module__.startswith(f"optml_algorithm_{driver.name}_")
    assert "driver" not in sys.modules
    assert "functions" not in sys.modules
