"""The least-mean-squares filter for one-step prediction: pure functions of numbers.

Row i of a series' embedding is x = series[i : i + filter_size], oldest value first, with the target
d = series[i + filter_size]. The embedding is never built: the functions read it out of the series.

`adapt` and `error_sums` are written for two readers: Python, with lists of floats, and numba, with float64 arrays.
Both add the taps from left to right in float64, so both give the same bits.

Sources: B. Widrow and M. E. Hoff (1960), Adaptive switching circuits, IRE WESCON Convention Record 4, 96–104 (LMS);
J. Nagumo and A. Noda (1967), A learning method for system identification, IEEE Transactions on Automatic Control
12, 282–287 (the normalised form).
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Keeps the normalised step finite where a whole window is zero; far below the power of one sunspot.
POWER_FLOOR = 1e-3


def initialise(filter_size: int, seed: int) -> Floats:
    """Initial weights, uniform in [0, 1); (filter_size,) float64."""
    import numpy as np

    return np.random.default_rng(seed).random(filter_size)


def adapt(
    series: Sequence[float] | Floats,
    weights: MutableSequence[float] | Floats,
    learning_rate: float,
    normalized: bool,
) -> None:
    """One pass of the filter over a series, in place: w += learning_rate · e · x with e = d − w·x.

    `normalized` divides the step by POWER_FLOOR + x·x. Series (n,), weights (filter_size,); nothing happens
    while n <= filter_size.
    """
    taps = len(weights)
    for first in range(len(series) - taps):
        prediction = 0.0
        for tap in range(taps):
            prediction += weights[tap] * series[first + tap]
        step = learning_rate * (series[first + taps] - prediction)
        if normalized:
            power = POWER_FLOOR
            for tap in range(taps):
                power += series[first + tap] * series[first + tap]
            step /= power
        for tap in range(taps):
            weights[tap] += step * series[first + tap]


def error_sums(series: Sequence[float] | Floats, weights: Sequence[float] | Floats) -> tuple[float, float]:
    """The sum of the squared errors and the sum of the predictions of a filter that is not adapted any more."""
    taps = len(weights)
    squared_errors = 0.0
    predictions = 0.0
    for first in range(len(series) - taps):
        prediction = 0.0
        for tap in range(taps):
            prediction += weights[tap] * series[first + tap]
        error = series[first + taps] - prediction
        squared_errors += error * error
        predictions += prediction
    return squared_errors, predictions
