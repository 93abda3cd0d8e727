"""Who is best: trials ranked by their value, points by their mean over seeds; and an experiment in figures.

Only complete trials with a finite value count; a diverged one is never best, however its figure looks. Ties
go to the lowest number.
"""

from __future__ import annotations

import heapq
import json
import math
import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from optml_queue.driver import Goal
from optml_queue.trial import Params, Trial, TrialState, encode

LEADERBOARD_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Ranked:
    """A point and its place. `mean` and `sd` (n - 1; None for a single value) are over `n` complete trials.

    `of` counts all trials of the point, `diverged` those that ran away; `number` is its best trial.
    """

    rank: int
    params: Params
    mean: float
    sd: float | None
    n: int
    of: int
    diverged: int
    number: int


def value_of(trial: Trial, metric: str) -> float | None:
    """The figure a trial is ranked by; None when it is not complete, not feasible, or not finite."""
    value = trial.metrics.get(metric)
    if trial.state is not TrialState.COMPLETE or not trial.is_feasible or value is None or not math.isfinite(value):
        return None
    return value


def top(trials: Iterable[Trial], metric: str, goal: Goal, limit: int = 1) -> list[Trial]:
    """The best complete trials, best first; at most `limit` are held at a time."""
    sign = _sign(goal)
    keyed = ((sign * value, trial) for trial in trials if (value := value_of(trial, metric)) is not None)
    best = heapq.nsmallest(limit, keyed, key=lambda pair: (pair[0], pair[1].number))
    return [trial for _, trial in best]


def leaderboard(
    trials: Iterable[Trial], metric: str, goal: Goal, limit: int | None = LEADERBOARD_LENGTH
) -> list[Ranked]:
    """The best points by their mean over seeds, best first; `limit` None means all of them.

    Takes trials in any order; memory grows with the number of distinct points (about 250 bytes each).
    """
    ranking = Ranking(metric, goal)
    for trial in trials:
        ranking.add(trial)
    return ranking.best(limit)


class Ranking:
    """Points and the running mean and spread of their values (Welford's method), one trial at a time.

    A point is known by its JSON. Its figures lie in arrays, for there may be a million points.
    """

    def __init__(self, metric: str, goal: Goal) -> None:
        self.metric = metric
        self._sign = _sign(goal)
        self._slots: dict[str, int] = {}
        self._n = array("q")
        self._of = array("q")
        self._diverged = array("q")
        self._mean = array("d")
        self._squares = array("d")
        self._best = array("d")
        self._number = array("q")

    def add(self, trial: Trial) -> None:
        """Count one trial of a point."""
        slot = self._slot(trial.params)
        self._of[slot] += 1
        self._diverged[slot] += trial.state is TrialState.DIVERGED
        value = value_of(trial, self.metric)
        if value is None:
            return
        self._n[slot] += 1
        change = value - self._mean[slot]
        self._mean[slot] += change / self._n[slot]
        self._squares[slot] += change * (value - self._mean[slot])
        if (self._sign * value, trial.number) < (self._best[slot], self._number[slot]):
            self._best[slot] = self._sign * value
            self._number[slot] = trial.number

    def best(self, limit: int | None = LEADERBOARD_LENGTH) -> list[Ranked]:
        """The best points so far.

        A point some of whose seeds diverged comes after all others: its mean is that of the survivors.
        """
        counted = [(params, slot) for params, slot in self._slots.items() if self._n[slot]]
        length = len(counted) if limit is None else limit
        best = heapq.nsmallest(length, counted, key=lambda pair: self._key(pair[1]))
        return [self._ranked(rank, params, slot) for rank, (params, slot) in enumerate(best, start=1)]

    def _slot(self, params: Params) -> int:
        slot = self._slots.setdefault(encode(params), len(self._slots))
        if slot == len(self._n):
            for counts in (self._n, self._of, self._diverged, self._number):
                counts.append(0)
            self._mean.append(0.0)
            self._squares.append(0.0)
            self._best.append(math.inf)
        return slot

    def _key(self, slot: int) -> tuple[bool, float, int]:
        return (self._diverged[slot] > 0, self._sign * self._mean[slot], self._number[slot])

    def _ranked(self, rank: int, params: str, slot: int) -> Ranked:
        n = self._n[slot]
        return Ranked(
            rank=rank,
            params=json.loads(params),
            mean=self._mean[slot],
            sd=math.sqrt(self._squares[slot] / (n - 1)) if n > 1 else None,
            n=n,
            of=self._of[slot],
            diverged=self._diverged[slot],
            number=self._number[slot],
        )


class Tally:
    """The figures of an experiment, gathered one trial at a time."""

    def __init__(self, metric: str, goal: Goal) -> None:
        self._goal = goal
        self._ranking = Ranking(metric, goal)
        self._counts = Counter(dict.fromkeys(TrialState, 0))
        self._best: Trial | None = None
        self._run_s = 0.0
        self._waits_s = array("d")
        self._first_queued_at = math.inf
        self._last_finished_at = -math.inf

    def add(self, trial: Trial) -> None:
        """Count one trial."""
        self._counts[trial.state] += 1
        self._ranking.add(trial)
        rivals = [trial] if self._best is None else [self._best, trial]
        self._best = next(iter(top(rivals, self._ranking.metric, self._goal)), None)
        self._run_s += trial.run_s or 0.0
        if trial.wait_s is not None:
            self._waits_s.append(trial.wait_s)
        if trial.queued_at is not None:
            self._first_queued_at = min(self._first_queued_at, trial.queued_at)
        if trial.finished_at is not None:
            self._last_finished_at = max(self._last_finished_at, trial.finished_at)

    def summary(self) -> dict[str, Any]:
        """What summary.json says of the trials; every figure in it is finite or None."""
        metric = self._ranking.metric
        wall_s = self._last_finished_at - self._first_queued_at
        return {
            "metric": metric,
            "goal": str(self._goal),
            "counts": {str(state): self._counts[state] for state in TrialState},
            "best": None if self._best is None else best_record(self._best, metric),
            "leaderboard": [asdict(ranked) for ranked in self._ranking.best()],
            "durations": {
                "run_s": self._run_s,
                "wall_s": max(0.0, wall_s) if math.isfinite(wall_s) else None,
                "wait_median_s": statistics.median(self._waits_s) if self._waits_s else None,
            },
        }


def summarize(trials: Iterable[Trial], metric: str, goal: Goal) -> dict[str, Any]:
    """What summary.json says of these trials: counts by state, best trial, leaderboard, durations."""
    tally = Tally(metric, goal)
    for trial in trials:
        tally.add(trial)
    return tally.summary()


def best_record(trial: Trial, metric: str) -> dict[str, Any]:
    """A best trial as documents show it."""
    return {
        "number": trial.number,
        "params": trial.params,
        "seed": trial.seed,
        "metric": metric,
        "value": trial.metrics[metric],
    }


def _sign(goal: Goal) -> float:
    return 1.0 if goal is Goal.MINIMIZE else -1.0
