"""The Pareto front: the trials than which none is better in one metric and as good in all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
