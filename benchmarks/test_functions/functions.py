"""Functions whose minimum is known, a real filter and a real network as what a trial computes, for searches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from optml_queue.data import DataSpec, load
from optml_queue.driver import ActiveTrial, Driver, load_driver
from optml_queue.runner import run_attempt
from optml_queue.trial import Params, TrialState

Point = Mapping[str, Any]


def branin(point: Point) -> float:
    """Branin's function; minimum 0.397887 (L. C. W. Dixon and G. P. Szegő, 1978)."""
    x, y = point["x"], point["y"]
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return float((y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10)


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(point: Point) -> float:
    """Hartmann's function of six parameters; minimum −3.322368 (Dixon and Szegő, 1978)."""
    x = np.array([point[f"x{i}"] for i in range(6)], dtype=float)
    return float(-(_ALPHA @ np.exp(-np.sum(_A * (x - _P) ** 2, axis=1))))


def rosenbrock4(point: Point) -> float:
    """Rosenbrock's function of four; the last is the logarithm of a rate, which is right at 0.1."""
    x = [float(point[f"x{i}"]) for i in range(3)]
    x.append(math.log10(point["rate"]) + 2.0)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def conditional(point: Point) -> float:
    """Two ways: a parabola with a floor of 1, and one of three parameters, harder to find, with a floor of 0."""
    if point["kind"] == "plain":
        return float(1.0 + (point["x"] - 0.3) ** 2)
    away = (point["x"] - 0.7) ** 2 + 4 * (point["y"] - 0.2) ** 2
    return float(away + 0.2 * abs(point["depth"] - 4))


DIVERGED = 10.0  # what a filter counts for whose error is not finite, or greater


def lms(point: Point) -> float:
    """The error of a real LMS filter on the sunspots: NMSE, by its learning rate and its length."""
    params = {name: point[name] for name in ("learning_rate", "filter_size")}
    return _error(*_lms(), params, "nmse", DIVERGED)


@lru_cache(maxsize=1)
def _lms() -> tuple[Driver, Any]:
    return load_driver("lms"), load(DataSpec("sunspots"))


def digits_ann(point: Point) -> float:
    """The error rate of a real network on the digits, 64 – units – 10: five epochs of 540 images, judged by 898 others.

    The first weights and the order of the images are the same for every point, so a point has one error.
    """
    names = ("learning_rate", "momentum", "units", "batch_size", "activation")
    return _digits_error(*(point[name] for name in names))


@cache  # a grid and a random search have the same points however many workers there are
def _digits_error(learning_rate: float, momentum: float, units: int, batch_size: int, activation: str) -> float:
    driver, images = _digits_ann()
    params = driver.complete(
        {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "network_size": [units],
            "batch_size": batch_size,
            "activation": activation,
            "loss_function": "cross_entropy",
            "epochs": 5,
            "split": "validation",
        }
    )
    return _error(driver, images, params, "error_rate", 1.0)


@lru_cache(maxsize=1)
def _digits_ann() -> tuple[Driver, Any]:
    return load_driver("ann"), load(DataSpec("digits", {"validation": 0.5, "seed": 0}, test=0.2))


def _error(driver: Driver, data: Any, params: Params, metric: str, diverged: float) -> float:
    """What a driver's metric is after a training with seed 0; `diverged` at most, and where it does not end well."""
    result = run_attempt(driver, data, ActiveTrial(number=0, params=params, seed=0), metric=metric)
    return min(diverged, result.metrics[metric]) if result.state is TrialState.COMPLETE else diverged


FUNCTIONS: Mapping[str, Callable[[Point], float]] = {
    function.__name__: function for function in (branin, hartmann6, rosenbrock4, conditional, lms, digits_ann)
}


def evaluated(point: Point, number: int) -> float:
    """The value of the point's `function`, after `sleep_s` seconds; the first `instant` numbers do not sleep."""
    if number >= point["instant"]:
        time.sleep(point["sleep_s"])
    return FUNCTIONS[point["function"]](point)
