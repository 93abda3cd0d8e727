"""Figures of a model's quality, for drivers to use.

Every function takes targets and predictions as arrays of one shape, (n,) with n > 0, and returns a float, not
a finite one if the predictions are not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


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


def error_rate(labels: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """The fraction of labels that were not predicted: 1 − accuracy."""
    return float((labels != predicted).mean())
