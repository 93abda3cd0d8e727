"""The kernel least-mean-squares filter for one-step prediction: pure functions of arrays.

The filter is LMS in the feature space of the Gaussian kernel k(x, c) = exp(−kernel_width · ‖x − c‖²). What it has
learned is a sum of kernels around inputs that it has seen, its centres:

    prediction(x) = Σ_j coefficient_j · k(x, centre_j)

Every training row adds learning_step · (target − prediction) to the coefficient of its own centre or, quantised, to
that of the nearest one. Passes after the first make no more centres.

NumPy computes the kernels of a block of rows in one go; a whole pass over the shipped sunspots takes it 30 ms.
Compiled loops would save a third of that, and take a process a second to make.

Sources: W. Liu, P. P. Pokharel and J. C. Príncipe (2008), The kernel least-mean-square algorithm, IEEE Transactions on
Signal Processing 56, 543–554; B. Chen, S. Zhao, P. Zhu and J. C. Príncipe (2012), Quantized kernel least mean square
algorithm, IEEE Transactions on Neural Networks and Learning Systems 23, 22–32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

# Kernels computed at once: few enough to stay in the cache of a core.
BLOCK_KERNELS = 1 << 15


def embed(series: Floats, filter_size: int) -> tuple[Floats, Floats]:
    """Inputs (n, filter_size), oldest value first, and targets (n,) of a series (n + filter_size,); views."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(series, filter_size)
    return windows[:-1], series[filter_size:]


def quantise(inputs: Floats, epsilon: float) -> tuple[Floats, Indices]:
    """The centres that a pass over the inputs (n, taps) makes, and (n,) which of them each input belongs to.

    An input no farther than `epsilon` from a centre belongs to the nearest one (the oldest of several), any other
    becomes a centre. Centres, (m, taps), are in the order of their making. With epsilon 0 every input is a centre of
    its own: repeated ones add up to the same function.
    """
    import numpy as np

    if not epsilon:
        return inputs, np.arange(len(inputs))
    centres = np.empty(inputs.shape, order="F")
    nearest = np.empty(len(inputs), dtype=np.int64)
    count = 0
    for row, point in enumerate(inputs):
        distances = squared_distances(point[np.newaxis], centres[:count])[0]
        closest = int(distances.argmin()) if count else 0
        if not count or distances[closest] > epsilon * epsilon:
            centres[count] = point
            closest, count = count, count + 1
        nearest[row] = closest
    return np.asfortranarray(centres[:count]), nearest


def nearest_of(inputs: Floats, centres: Floats) -> Indices:
    """(n,) which of the centres (m, taps) each input (n, taps) is nearest to: the oldest of several."""
    import numpy as np

    parts = blocks(len(inputs), len(centres))
    return np.concatenate([squared_distances(inputs[part], centres).argmin(axis=1) for part in parts])


def squared_distances(inputs: Floats, centres: Floats) -> Floats:
    """‖x − c‖² of every input (n, taps) and every centre (m, taps); (n, m) float64, taps added from left to right."""
    import numpy as np

    distances = np.zeros((len(inputs), len(centres)))
    for tap in range(inputs.shape[1]):
        difference = np.subtract.outer(inputs[:, tap], centres[:, tap])
        difference *= difference
        distances += difference
    return distances


def kernels(inputs: Floats, centres: Floats, kernel_width: float) -> Floats:
    """exp(−kernel_width · ‖x − c‖²) of every input (n, taps) and every centre (m, taps); (n, m) float64."""
    import numpy as np

    exponents = squared_distances(inputs, centres)
    exponents *= -kernel_width
    return np.exp(exponents, out=exponents)


def blocks(rows: int, centres: int) -> Iterator[slice]:
    """Slices of so many rows that a block's kernels with all centres number about BLOCK_KERNELS."""
    step = max(1, BLOCK_KERNELS // centres)
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def adapt(kernels: Floats, targets: Floats, nearest: Indices, coefficients: Floats, learning_step: float) -> None:
    """The filter's passage over a block of rows, in place: coefficient[nearest] += learning_step · (target − y).

    Kernels (n, m) of the rows and centres, targets (n,), nearest (n,), coefficients (m,), zero for centres to come.
    """
    # Not a dot product: BLAS would sum in another order for another number of threads.
    for row, target, centre in zip(kernels, targets, nearest, strict=True):
        coefficients[centre] += learning_step * (target - (row * coefficients).sum())


def predict(kernels: Floats, coefficients: Floats) -> Floats:
    """Predictions (n,) for rows whose kernels with the centres are (n, m)."""
    predictions: Floats = (kernels * coefficients).sum(axis=1)
    return predictions
