"""What a searcher knows: the points asked for, and the results told, in the order in which both happened.

A point counts as asked when its first trial is reserved, and as told when the last of its seeds has ended. `seen` says
how far the log of finished trials had been read when a point was suggested. So the history is one sequence, however
many processes took part in it, and a suggestion can be computed again from it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from optml_queue.trial import Params, Trial, TrialState

# States whose trials have a figure to learn from, if it is finite.
_MEASURED = frozenset({TrialState.COMPLETE, TrialState.STOPPED_EARLY})


@dataclass(frozen=True, slots=True)
class Ask:
    """A point with the number of its first trial.

    `seen` is the length of the log that it was suggested from, `method` what suggested it: "" where no searcher
    learned from anything, as for points that a spec lists.
    """

    number: int
    params: Params
    seen: int = 0
    method: str = ""


@dataclass(frozen=True, slots=True)
class Tell:
    """A point's result: `number` is that of its ask, `position` its place in the log of finished trials.

    `value` is None when no trial of the point has a finite figure. `state` is DIVERGED when any of its trials is, or
    breaks a constraint, STOPPED_EARLY when any was, COMPLETE when all are, and FAILED otherwise. `others` are the
    figures of the metrics after the first, None where no trial of the point has a finite one; empty without `value`.
    """

    number: int
    position: int
    state: TrialState
    value: float | None = None
    others: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Asks in the order of numbers, tells in the order of the log, and the log's length when it was read."""

    asks: tuple[Ask, ...] = ()
    tells: tuple[Tell, ...] = ()
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point to try. `parents` are the numbers of the asks that it descends from, where it does."""

    params: Params
    parents: tuple[int, ...] = ()


def history_of(
    trials: Iterable[Trial], log: Sequence[int], metrics: Sequence[str], first_of: Mapping[int, int]
) -> History:
    """The history of an experiment, by the names of its metrics, of which the first is the one judged by.

    `log` has the numbers of trials in the order of finishing: a trial that was run again counts where it stands last.
    `first_of` maps the number of a trial to that of the first trial of its point; trials that it lacks are passed over.
    """
    points: defaultdict[int, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.number in first_of:
            points[first_of[trial.number]].append(trial)
    last = {number: position for position, number in enumerate(log)}
    asks = [ask_of(first, points[first]) for first in sorted(points)]
    tells = [
        tell_of(first, max(last[trial.number] for trial in of_point), of_point, metrics)
        for first, of_point in points.items()
        if all(trial.number in last and trial.finished_at is not None for trial in of_point)
    ]
    return History(tuple(asks), tuple(sorted(tells, key=lambda tell: tell.position)), len(log))


def ask_of(first: int, trials: Sequence[Trial]) -> Ask:
    """The ask of a point, by its trials in the order of numbers."""
    origin = trials[0].origin
    return Ask(first, trials[0].params, origin.get("seen", 0), origin.get("method", ""))


def tell_of(first: int, position: int, trials: Sequence[Trial], metrics: Sequence[str]) -> Tell:
    """The tell of a point all of whose trials have ended, the last of them at a place in the log."""
    return Tell(first, position, *outcome(trials, metrics))


def outcome(
    trials: Sequence[Trial], metrics: Sequence[str]
) -> tuple[TrialState, float | None, tuple[float | None, ...]]:
    """State, value and others (see Tell) of a point whose trials have ended."""
    states = {trial.state for trial in trials}
    measured = [trial for trial in trials if trial.state in _MEASURED]
    value, *others = (_mean(measured, metric) for metric in metrics)
    if TrialState.DIVERGED in states or not all(trial.is_feasible for trial in trials):
        return TrialState.DIVERGED, None, ()  # a constraint broken is as bad: its value must draw nobody there
    if value is None:
        return TrialState.FAILED, None, ()
    state = TrialState.STOPPED_EARLY if TrialState.STOPPED_EARLY in states else TrialState.COMPLETE
    return state, value, tuple(others)


def _mean(trials: Iterable[Trial], metric: str) -> float | None:
    """The mean of the figures that are finite; None where none is."""
    figures = [trial.metrics.get(metric, math.nan) for trial in trials]
    finite = [figure for figure in figures if math.isfinite(figure)]
    return fmean(finite) if finite else None
