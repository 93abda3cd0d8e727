"""LMS: an adaptive linear filter that predicts a series one step ahead.

The filter passes over the training part `epochs` times and is then tested, unchanged, on the test part. Both parts
are embedded on their own: the first `filter_size` values of each are only inputs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

from optml_queue.data import Series
from optml_queue.driver import ActiveTrial, Metric, Parameter
from optml_queue.errors import DivergedError
from optml_queue.metrics import Targets
from optml_queue.trial import Params

from .compilation import Compilation
from .functions import adapt, error_sums, initialise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

PARAMETERS = (
    Parameter("learning_rate", float, help="step size of the filter", above=0.0),
    Parameter("filter_size", int, default=5, help="previous values that a prediction is made from", minimum=1),
    Parameter("epochs", int, default=1, help="passes over the training part", minimum=1),
    Parameter("normalized", bool, default=False, help="divide the step by the power of the inputs (NLMS)"),
)
METRICS = (
    Metric("nmse", help="mean squared error over the product of the means of targets and predictions"),
    Metric("mse", help="mean squared error"),
    Metric("rmse", help="root of the mean squared error"),
)
DATA = ("sunspots", "channel", "csv")

compilation = Compilation()


def train(trial: ActiveTrial) -> dict[str, float]:
    """Adapt one filter and return its errors on the test part.

    Raises DivergedError with the errors measured when the filter ran away, DataError when the series is too short
    for the filter.
    """
    point = _Point.of(trial.params)
    parts, targets = _parts(trial.data), _targets(trial.data, point.filter_size)
    metric = trial.metric or METRICS[0].name
    weights = initialise(point.filter_size, trial.seed)
    begun = 0
    if point.epochs > 1 and (state := trial.restore()):
        begun, weights = state["epoch"], state["weights"]
    for epoch in range(begun + 1, point.epochs + 1):
        taps_ahead = (point.epochs - epoch + 1) * point.filter_size * len(trial.data.values)
        squared_errors, predictions = _epoch(parts, weights, point, taps_ahead)
        errors = targets.errors(squared_errors, predictions)
        if reason := targets.divergence(errors, metric):
            raise DivergedError(reason, errors)
        if point.epochs > 1:
            trial.report(epoch, errors[metric])
        if epoch < point.epochs:
            trial.checkpoint_if_due(partial(dict, epoch=epoch, weights=weights))
    return errors


def cost(params: Params, rows: int) -> float:
    """Multiply-adds of the taps."""
    point = _Point.of(params)
    return float(point.epochs * point.filter_size * rows)


@dataclass(frozen=True, slots=True)
class _Point:
    """A point's parameters by their types."""

    learning_rate: float
    filter_size: int
    epochs: int
    normalized: bool

    @classmethod
    def of(cls, params: Params) -> _Point:
        return cls(
            # A spec may say 1 for 1.0; the compiled loops take floats alone.
            learning_rate=float(cast(float, params["learning_rate"])),
            filter_size=cast(int, params["filter_size"]),
            epochs=cast(int, params["epochs"]),
            normalized=cast(bool, params["normalized"]),
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Both parts of a series, each for either reader of the loops."""

    train: Floats
    test: Floats
    train_list: list[float]
    test_list: list[float]


# Trials share their series, and often their filter's size: what depends on these alone is worked out once.
@lru_cache(maxsize=4)
def _parts(series: Series) -> _Parts:
    train_part, test_part = series.parts()
    return _Parts(train_part, test_part, train_part.tolist(), test_part.tolist())


@lru_cache(maxsize=256)
def _targets(series: Series, filter_size: int) -> Targets:
    series.check_filter_size(filter_size)
    return Targets.of(_parts(series).test[filter_size:])


def _epoch(parts: _Parts, weights: Floats, point: _Point, taps_ahead: int) -> tuple[float, float]:
    """One pass over the training part, weights changed in place; then the sums of the test."""
    if loops := compilation.loops(taps_ahead):
        compiled_adapt, compiled_error_sums = loops
        compiled_adapt(parts.train, weights, point.learning_rate, point.normalized)
        return compiled_error_sums(parts.test, weights)
    started = time.perf_counter()
    floats = weights.tolist()
    adapt(parts.train_list, floats, point.learning_rate, point.normalized)
    sums = error_sums(parts.test_list, floats)
    weights[:] = floats
    compilation.spent(time.perf_counter() - started)
    return sums
