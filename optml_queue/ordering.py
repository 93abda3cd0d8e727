"""Longest first, learned: what waits is put in another order once durations were observed that parameters foretell.

For experiments whose algorithm declares no cost (see `experiments.cost_of`). A look costs reading a few hundred trials;
there is one whenever the observed have doubled, or the trials left have halved. Nothing here has to be remembered: what
another process, or this one before it was started anew, has ordered already is found in good order.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from optml_queue.budget import NO_BUDGET
from optml_queue.store import Experiment, Store
from optml_queue.trial import Trial, TrialState

if TYPE_CHECKING:  # NumPy is imported when there is something to learn from
    from optml_queue.durations import DurationModel

OBSERVED = (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.STOPPED_EARLY)
OBSERVED_MIN = 6  # trials before the first look
SAMPLES, SAMPLE_LENGTH = 8, 32  # stretches of the log of finished trials that are learned from
GAIN_MIN = 0.01  # part of the time that is left; what is in the queue is not recalled for less

_KEPT = 64  # experiments
_looks: OrderedDict[tuple[str, float], tuple[int, int]] = OrderedDict()


def is_look_due(experiment: Experiment, workers: int) -> bool:
    """Whether so much has changed since this process's last look that another may be worth it; notes that it is made.

    An experiment that a target or a budget may cut off keeps the order of numbers: its time is not that of all trials.
    """
    observed = sum(experiment.counts[state] for state in OBSERVED)
    left = experiment.counts[TrialState.QUEUED] + (0 if experiment.exhausted else experiment.end - experiment.next)
    if _lanes(experiment, workers) < 2 or observed < OBSERVED_MIN or left < 2:
        return False
    if experiment.target is not None or experiment.budget != NO_BUDGET:
        return False
    key = (experiment.id, experiment.created_at)
    last_observed, last_left = _looks.pop(key, (0, 2 * left))
    is_due = observed >= 2 * last_observed or 2 * left <= last_left
    _looks[key] = (observed, left) if is_due else (last_observed, last_left)
    while len(_looks) > _KEPT:
        _looks.popitem(last=False)
    return is_due


def learn(store: Store, experiment: Experiment, workers: int) -> DurationModel | None:
    """What durations depend on; None when that is not known, or when no order of what is left would gain much."""
    from optml_queue.durations import fitted

    observed = [(trial.params, trial.run_s) for trial in _sample(store, experiment) if trial.run_s is not None]
    if not observed:
        return None
    left = experiment.total - experiment.terminal
    total_s = sum(duration_s for _, duration_s in observed) / len(observed) * left
    # No order loses more than the longest trial, which may be twice as long as those seen.
    if 2 * max(duration_s for _, duration_s in observed) < GAIN_MIN * total_s / _lanes(experiment, workers):
        return None
    return fitted(observed)


def reorder(store: Store, experiment: Experiment, model: DurationModel, workers: int) -> int:
    """Put what waits in the order of foretold durations, where that ends it sooner. How many were placed."""
    durations_s = {trial.number: model.duration_s(trial.params) for trial in store.waiting(experiment.id)}
    lanes = _lanes(experiment, workers)
    longest_first = makespan_s(sorted(durations_s.values(), reverse=True), lanes)
    if longest_first > (1 - GAIN_MIN) * makespan_s(durations_s.values(), lanes):
        return 0
    return store.reorder(experiment.id, durations_s)


def makespan_s(durations_s: Iterable[float], lanes: int) -> float:
    """Seconds until trials have ended that are begun one after another, each by the first of `lanes` that is free."""
    free_at = [0.0] * lanes
    for duration_s in durations_s:
        heapq.heapreplace(free_at, free_at[0] + duration_s)
    return max(free_at)


def _lanes(experiment: Experiment, workers: int) -> int:
    return workers if experiment.max_parallel is None else min(workers, experiment.max_parallel)


def _sample(store: Store, experiment: Experiment) -> list[Trial]:
    """Trials with a result, from stretches of the log that lie evenly over it."""
    step = max(SAMPLE_LENGTH, experiment.finished // SAMPLES)
    starts = range(0, experiment.finished, step)
    found = {
        trial.number: trial for start in starts for trial in store.finished(experiment.id, start, start + SAMPLE_LENGTH)
    }
    return [trial for trial in found.values() if trial.state in OBSERVED]
