"""Figures of a model's quality, for drivers to use, and the rule by which a predictor counts as run away.

Every function takes targets and predictions as arrays of one shape, (n,) with n > 0, and returns a float, not
a finite one if the predictions are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# A predictor whose mean squared error exceeds the targets' variance by this factor has run away.
DIVERGED_RATIO = 1000.0


def mse(targets: Floats, predictions: Floats) -> float:
    """Mean squared error."""
    difference = targets - predictions
    return float((difference * difference).mean())


def rmse(targets: Floats, predictions: Floats) -> float:
    """Root of the mean squared error, in the targets' unit."""
    return math.sqrt(mse(targets, predictions))


def nmse(targets: Floats, predictions: Floats) -> float:
    """The mean squared error over the product of the means, `normalized(mse, mean(d), mean(y))`.

    Discussed by A. A. Poli and M. C. Cirillo (1993), On the use of the normalized mean square error in
    evaluating dispersion model performance, Atmospheric Environment 27A, 2427–2434. It is negative when the
    means differ in sign: such a value says nothing of quality.
    """
    return normalized(mse(targets, predictions), float(targets.mean()), float(predictions.mean()))


def normalized(error: float, mean_target: float, mean_prediction: float) -> float:
    """A mean squared error over the product of both means; infinite when the product is zero."""
    power = mean_target * mean_prediction
    return error / power if power else math.inf


def r2(targets: Floats, predictions: Floats) -> float:
    """The fraction of the targets' variance that is explained: 1 − mse / variance.

    Constant targets have nothing to explain: then it is 1 when all are met and 0 otherwise.
    """
    error, variance = mse(targets, predictions), float(targets.var())
    if not variance:
        return 0.0 if error else 1.0
    return 1.0 - error / variance


def error_rate(labels: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """The fraction of labels that were not predicted: 1 − accuracy."""
    return float((labels != predicted).mean())


@dataclass(frozen=True, slots=True)
class Targets:
    """What the errors of a predictor of numbers are measured by, worked out once for many predictors."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Floats) -> Targets:
        """Those of (n,) float64 target values, n > 0."""
        return cls(len(values), float(values.mean()), float(values.var()))

    def errors(self, squared_errors: float, predictions: float) -> dict[str, float]:
        """nmse, mse and rmse from the sum of the squared errors and the sum of the predictions."""
        error = squared_errors / self.count
        return {
            "nmse": normalized(error, self.mean, predictions / self.count),
            "mse": error,
            "rmse": math.sqrt(error),
        }

    def divergence(self, errors: Mapping[str, float], metric: str) -> str:
        """Why a predictor with these errors, judged by `metric`, has run away; "" when it has not."""
        # One prediction that is not finite makes the mse so.
        if not math.isfinite(errors["mse"]):
            return "the predictions are not finite"
        # A negative nmse would always be the least. It says nothing of the mse: a predictor may do its best on a
        # series that cannot be predicted, and then its mean prediction lies around zero.
        if metric == "nmse" and errors["nmse"] < 0:
            return f"nmse is negative ({errors['nmse']:.6g}): the mean prediction has the wrong sign"
        if self.variance and errors["mse"] > DIVERGED_RATIO * self.variance:
            return f"mse {errors['mse']:.6g} is over {DIVERGED_RATIO:g} times the variance of the targets"
        return ""
