"""The Pareto front: the trials than which none is better in one metric and as good in all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from optml_queue.driver import Goal, Metric
from optml_queue.summary import value_of
from optml_queue.trial import Trial


def front(trials: Iterable[Trial], metrics: Sequence[Metric]) -> list[Trial]:
    """The feasible complete trials that no other dominates, the best by the first metric first.

    A trial without a finite value of each metric is not among them; of equal ones all are. Reads the trials once and
    holds no more than the front so far: the time is that of comparing each trial with it.
    """
    found: list[tuple[tuple[float, ...], Trial]] = []
    for trial in trials:
        scores = _scores(trial, metrics)
        if scores is None or any(_dominates(other, scores) for other, _ in found):
            continue
        found = [(other, kept) for other, kept in found if not _dominates(scores, other)]
        found.append((scores, trial))
    return [trial for _, trial in sorted(found, key=lambda pair: (pair[0], pair[1].number))]


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


def _scores(trial: Trial, metrics: Sequence[Metric]) -> tuple[float, ...] | None:
    """The values, smallest best; None where the trial does not take part."""
    scores = []
    for metric in metrics:
        value = value_of(trial, metric.name)
        if value is None:
            return None
        scores.append(value if metric.goal is Goal.MINIMIZE else -value)
    return tuple(scores)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
