"""A trial that dies again and again finds what an undisturbed one finds, to the last bit, whatever trains it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from optml_queue.checkpoint import decode_state, encode_state
from optml_queue.data import DataSpec, load
from optml_queue.driver import ActiveTrial, Driver, Metric, Order, load_driver
from optml_queue.errors import DriverError
from optml_queue.program import load_program
from optml_queue.runner import run_attempt
from optml_queue.trial import Params, TrialResult

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 12
DEATHS = 5
ANN: Params = {"network_size": [6], "epochs": STEPS, "batch_size": 100}
# What is trained; every optimizer of ann has a memory of its own.
POINTS: dict[str, tuple[str, Params]] = {
    "lms": ("lms", {"learning_rate": 1e-6, "epochs": STEPS}),
    "lms normalized": ("lms", {"learning_rate": 0.1, "epochs": STEPS, "normalized": True}),
    "klms": ("klms", {"learning_step": 0.04, "kernel_width": 2e-5, "epsilon": 40.0, "epochs": STEPS}),
    "ann sgd": ("ann", {**ANN, "learning_rate": 0.1}),
    "ann momentum, dropout": ("ann", {**ANN, "learning_rate": 0.1, "momentum": 0.9, "dropout": 0.3}),
    "ann rmsprop": ("ann", {**ANN, "learning_rate": 0.01, "optimizer": "rmsprop", "momentum": 0.5}),
    "ann adam": ("ann", {**ANN, "learning_rate": 0.01, "optimizer": "adam", "l2": 0.01}),
    "sklearn": ("sklearn", {"estimator": "sklearn.linear_model.SGDClassifier", "max_iter": 20, "folds": STEPS}),
}


class Killed(BaseException):
    """As sudden as a SIGKILL: no driver catches it."""


@dataclass
class World:
    """What outlives an attempt: its checkpoints, taken at random, and what it reported. It dies at random reports."""

    random: Random
    deaths: list[int] = field(default_factory=list)
    always: bool = False
    kept: list[bytes] = field(default_factory=list)
    reported: dict[int, float] = field(default_factory=dict)
    restored: int = 0

    def run(self, driver: Driver, trial: ActiveTrial, at: str) -> TrialResult:
        """Attempt after attempt until one ends."""
        active = replace(
            trial,
            on_report=self._report,
            checkpoint_is_due=lambda: self.always or self.random.random() < 0.5,
            on_checkpoint=self._keep,
            on_restore=self._restore,
        )
        while True:
            try:
                return run_attempt(driver, trial.data, active, metric=next(iter(driver.metrics)), at=at)
            except Killed:
                continue

    def _report(self, step: int, value: float) -> Order:
        assert repr(self.reported.setdefault(step, value)) == repr(value)
        if self.deaths and step >= self.deaths[0]:
            del self.deaths[0]
            raise Killed
        return Order.OK

    def _keep(self, state: Any) -> Order:
        self.kept.append(encode_state(state))
        return Order.OK

    def _restore(self) -> dict[str, Any] | None:
        self.restored += bool(self.kept)
        return decode_state(self.kept[-1]) if self.kept else None


def assert_same_after_deaths(driver: Driver, params: Params, seed: int, at: str = "last") -> None:
    """Five deaths change neither the result, nor a report, nor a weight in any checkpoint."""
    data = load(DataSpec(driver.data[0] if driver.data else "digits"))
    trial = ActiveTrial(0, params, seed, data)
    undisturbed = World(Random(seed), always=True)
    expected = undisturbed.run(driver, trial, at)
    random = Random(seed)
    disturbed = World(random, deaths=sorted(random.choices(range(1, STEPS + 1), k=DEATHS)))
    assert repr(disturbed.run(driver, trial, at)) == repr(expected)
    assert disturbed.deaths == []
    assert disturbed.reported == undisturbed.reported
    assert len(undisturbed.reported) == STEPS
    assert disturbed.restored > 0
    assert set(disturbed.kept) <= set(undisturbed.kept), "a state that an undisturbed trial is never in"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(POINTS))
def test_an_algorithm_goes_on_to_the_same_bits(name: str, seed: int) -> None:
    algorithm, params = POINTS[name]
    assert_same_after_deaths(load_driver(algorithm), params, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [1e-6, 4e-6])
def test_the_best_value_may_be_one_of_an_attempt_that_died(rate: float, seed: int) -> None:
    assert_same_after_deaths(load_driver("lms"), {"learning_rate": rate, "epochs": STEPS}, seed, at="best")


def test_the_example_of_a_program_does() -> None:
    driver = load_program(EXAMPLES / "program", "train.py", Metric("rmse"))
    assert_same_after_deaths(driver, {"learning_rate": 0.1, "penalty": 0.1, "epochs": STEPS}, 1)


@pytest.mark.training
def test_the_example_in_torch_does_or_says_what_it_lacks() -> None:
    driver = load_program(EXAMPLES / "torch_mlp", "train.py", Metric("error_rate"), ["torch"])
    if find_spec("torch") is None:
        with pytest.raises(DriverError, match="this machine lacks the package torch"):
            driver.train(ActiveTrial(0, {}, 0))
        return
    assert_same_after_deaths(driver, {"width": 8, "learning_rate": 0.01, "epochs": STEPS}, 1)
