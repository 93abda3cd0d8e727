"""KLMS: a kernel adaptive filter that predicts a series one step ahead, optionally quantised (QKLMS).

The filter passes over the training part `epochs` times and is then tested, unchanged, on the test part. Both parts
are embedded on their own: the first `filter_size` values of each are only inputs. It starts from nothing, so the seed
does not matter.

Without quantisation a pass costs the square of the number of rows. `epsilon` bounds it: a row that near to a centre
makes no new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

from optml_queue.data import Series
from optml_queue.driver import ActiveTrial, Metric, Parameter
from optml_queue.errors import DivergedError
from optml_queue.metrics import Targets
from optml_queue.trial import Params

from .functions import adapt, blocks, embed, kernels, nearest_of, predict, quantise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

PARAMETERS = (
    Parameter("learning_step", float, help="how much of an error a coefficient takes up", above=0.0),
    Parameter("kernel_width", float, help="factor on the squared distance in the Gaussian kernel", above=0.0),
    Parameter("filter_size", int, default=5, help="previous values that a prediction is made from", minimum=1),
    Parameter("epsilon", float, default=0.0, help="distance up to which rows share a centre; 0: none do", minimum=0.0),
    Parameter("epochs", int, default=1, help="passes over the training part", minimum=1),
)
METRICS = (
    Metric("nmse", help="mean squared error over the product of the means of targets and predictions"),
    Metric("mse", help="mean squared error"),
    Metric("rmse", help="root of the mean squared error"),
)
DATA = ("sunspots", "channel", "csv")

# The kernels of all rows, which every pass but the first needs again, are kept up to this size.
KEPT_BYTES = 128 << 20


def train(trial: ActiveTrial) -> dict[str, float]:
    """Adapt one filter and return its errors on the test part.

    Raises DivergedError with the errors measured when the filter ran away, DataError when the series is too short
    for the filter.
    """
    import numpy as np

    point = _Point.of(trial.params)
    rows = _rows(trial.data, point.filter_size, point.epsilon)
    metric = trial.metric or METRICS[0].name
    state = trial.restore() if point.epochs > 1 else None
    begun, coefficients = (state["epoch"], state["coefficients"]) if state else (0, np.zeros(len(rows.centres)))
    first = _FirstKernels(rows, point.kernel_width)
    later = _Kernels(rows.inputs, rows.centres, point.kernel_width)
    test = _Kernels(rows.test_inputs, rows.centres, point.kernel_width)
    for epoch in range(begun + 1, point.epochs + 1):
        # What runs away exceeds the floats on its way.
        with np.errstate(over="ignore", invalid="ignore"):
            nearest = rows.nearest if epoch == 1 else _nearest(trial.data, point.filter_size, point.epsilon)
            for part, values in first if epoch == 1 else later:
                known = coefficients[: values.shape[1]]
                adapt(values, rows.targets[part], nearest[part], known, point.learning_step)
            predictions = np.concatenate([predict(values, coefficients) for _part, values in test])
            squared_errors = float(((rows.test_targets - predictions) ** 2).sum())
            errors = rows.measure.errors(squared_errors, float(predictions.sum()))
        if reason := rows.measure.divergence(errors, metric):
            raise DivergedError(reason, errors)
        if point.epochs > 1:
            trial.report(epoch, errors[metric])
        if epoch < point.epochs:
            trial.checkpoint_if_due(partial(dict, epoch=epoch, coefficients=coefficients))
    return errors


def cost(params: Params, rows: int) -> float:
    """Multiply-adds of the first pass' distances and of every pass' predictions, when no rows share a centre."""
    point = _Point.of(params)
    return (point.filter_size / 2 + point.epochs) * rows * rows


@dataclass(frozen=True, slots=True)
class _Point:
    """A point's parameters by their types."""

    learning_step: float
    kernel_width: float
    filter_size: int
    epsilon: float
    epochs: int

    @classmethod
    def of(cls, params: Params) -> _Point:
        return cls(
            learning_step=cast(float, params["learning_step"]),
            kernel_width=cast(float, params["kernel_width"]),
            filter_size=cast(int, params["filter_size"]),
            epsilon=float(cast(float, params["epsilon"])),
            epochs=cast(int, params["epochs"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """A series as the filter meets it; arrays as in functions.py."""

    inputs: Floats
    targets: Floats
    test_inputs: Floats
    test_targets: Floats
    centres: Floats
    nearest: Indices  # of the centres that there are by then
    known: Indices  # (n,): how many there are after a row
    measure: Targets


# Trials share their series, and often what they make of it: the search for nearest centres takes as long as a pass.
@lru_cache(maxsize=16)
def _rows(series: Series, filter_size: int, epsilon: float) -> _Rows:
    import numpy as np

    series.check_filter_size(filter_size)
    train_part, test_part = series.parts()
    inputs, targets = embed(train_part, filter_size)
    test_inputs, test_targets = embed(test_part, filter_size)
    centres, nearest = quantise(inputs, epsilon)
    return _Rows(
        inputs=inputs,
        targets=targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        centres=centres,
        nearest=nearest,
        known=np.maximum.accumulate(nearest) + 1,
        measure=Targets.of(test_targets),
    )


@lru_cache(maxsize=16)
def _nearest(series: Series, filter_size: int, epsilon: float) -> Indices:
    """Which centre each row is nearest to once all are there."""
    rows = _rows(series, filter_size, epsilon)
    return nearest_of(rows.inputs, rows.centres) if epsilon else rows.nearest


@dataclass(frozen=True, slots=True)
class _FirstKernels:
    """The kernels of the training rows with the centres that there are by then, block by block."""

    rows: _Rows
    kernel_width: float

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        rows = self.rows
        for part in blocks(len(rows.inputs), len(rows.centres)):
            known = rows.known[part.stop - 1]
            yield part, kernels(rows.inputs[part], rows.centres[:known], self.kernel_width)


@dataclass(slots=True)
class _Kernels:
    """The kernels of some rows with all centres, block by block; kept for the next time unless they are large."""

    inputs: Floats
    centres: Floats
    kernel_width: float
    kept: list[tuple[slice, Floats]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        if self.kept:
            return iter(self.kept)
        if len(self.inputs) * len(self.centres) * 8 > KEPT_BYTES:
            return self._computed()
        self.kept = list(self._computed())
        return iter(self.kept)

    def _computed(self) -> Iterator[tuple[slice, Floats]]:
        for part in blocks(len(self.inputs), len(self.centres)):
            yield part, kernels(self.inputs[part], self.centres, self.kernel_width)
