"""The Pareto front of many trials at once, as arrays; `pareto.front` finds that of trials that come one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def undominated(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rows that no other row dominates, the best by the first column first; of equal ones all are.

    `scores` are float64 of shape (trials, metrics), all finite, smallest best.
    """
    rest = np.lexsort(scores.T[::-1]).astype(np.int64)
    if scores.shape[1] == 2:
        return rest[_descends(scores[rest])]
    found = []
    # What dominates a row comes before it in this order, so the first one that is left is on the front.
    while len(rest):
        first = scores[rest[0]]
        found.append(rest[0])
        others = scores[rest[1:]]
        rest = rest[1:][(others < first).any(axis=1) | (others == first).all(axis=1)]
    return np.array(found, dtype=np.int64)


def _descends(pairs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of sorted pairs have a smaller second value than all before them, or are equal to one that has."""
    if not len(pairs):
        return np.array([], dtype=bool)
    lowest = np.concatenate(([np.inf], np.minimum.accumulate(pairs[:-1, 1])))
    descends: NDArray[np.bool_] = pairs[:, 1] < lowest
    # The first of equal pairs is the one that descends.
    leader = np.maximum.accumulate(np.where(descends, np.arange(len(pairs)), 0))
    equals: NDArray[np.bool_] = (pairs == pairs[leader]).all(axis=1)
    return equals
