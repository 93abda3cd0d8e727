"""The next trials of a search that learns: read the history, ask a searcher.

The history lies in the store: the numbers of trials are the order in which points were asked for, the log of finished
ones the order of what was told, and every trial that was suggested keeps how much of the log had been read. What this
module remembers of experiments only saves reading and computing again.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from optml_queue.archive import Archive
from optml_queue.archive.earlier import opened
from optml_queue.errors import ArchiveError
from optml_queue.search import Plan, Segment
from optml_queue.search.adaptive import AdaptiveSearcher, Task, searcher
from optml_queue.search.adaptive import require as require_packages
from optml_queue.search.chronicle import LASTING, Chronicle
from optml_queue.search.history import History, Suggestion
from optml_queue.search.start import NO_START, Start, read_start
from optml_queue.spec import Spec
from optml_queue.store import Experiment, NewTrial, Store
from optml_queue.trial import TrialState

_KEPT = 32  # experiments
_IDLE = 0.01  # the part of the time that workers may wait for a sampler
_WAY_S = 0.005  # from a trial's end to the sampler, and from there to the worker
_RECENT = 10  # suggestions and trials that tell how long others will take


# New trials, the number after them, and whether there will be no more.
Taken = tuple[list[NewTrial], int, bool]


def take(
    store: Store,
    experiment: Experiment,
    segment: Segment,
    plan: Plan,
    room: int,
    workers: int,
    archive: Archive | None = None,
) -> Taken | None:
    """Suggest a point for an experiment's next trials; None when enough wait to keep `workers` busy.

    `segment` is that of the experiment's next number; `room` is how many trials may be reserved at most; `archive` has
    what the searcher starts from, if anything. Two processes may do it at once: the store takes the trials of one.
    Raises InputError when a package is missing, ArchiveError and UnreachableError.
    """
    memory = _memory(experiment, archive)
    if min(room, _wanted(store, experiment, workers, memory)) <= 0:
        return None
    with memory.timed():
        trials, next_, is_spent = _next_trials(store, memory, experiment, plan, segment)
    left = None if experiment.max_trials is None else experiment.max_trials - experiment.created
    if left is not None and len(trials) >= left:
        trials, is_spent = trials[:left], True
        next_ = trials[-1].number + 1 if trials else experiment.next
    return trials, next_, is_spent


def _wanted(store: Store, experiment: Experiment, workers: int, memory: Memory) -> int:
    """How many trials more are to wait."""
    counts, most = experiment.counts, max(1, min(workers, experiment.max_parallel or workers))
    kept = ahead(most, most * memory.share)
    # Of workers that others share, nobody can tell how many are free for this experiment: one trial offers itself.
    free = 1 if store.is_shared(experiment) else most - counts[TrialState.RUNNING]
    return max(kept, free) - counts[TrialState.QUEUED]


def ahead(workers: int, load: float = 0.0) -> int:
    """How many trials wait though no worker is free, when a sampler is busy for so many a part `load` of the time.

    With none, a worker waits for the sampler after each trial; that is best where trials are long, for a point that is
    chosen ahead is chosen before more results are known, which costs quality (docs/search.md has figures). As many wait
    as keep workers from idling more than a hundredth of the time, were the sampler a queue in which wishes come by
    chance (M/M/1 with a base stock): then load^(ahead + 1) / (1 - load) workers are idle on average. But never more
    than one for each eight workers.
    """
    most = max(1, workers // 8)
    enough = (each for each in range(most) if load < 1 and load ** (each + 1) / (1 - load) <= _IDLE * workers)
    return next(enough, most)


def require(spec: Spec) -> None:
    """Raises InputError when a package that one of the spec's methods needs is not installed."""
    for stage in spec.search.course:
        require_packages(stage.method)


def _next_trials(store: Store, memory: Memory, experiment: Experiment, plan: Plan, segment: Segment) -> Taken:
    """The trials of the next point, the number after them, and whether there is no more to suggest."""
    seeds = segment.seeds
    begun = (experiment.next - segment.first) % len(seeds)
    if begun:  # max_trials had ended the search between two seeds of a point
        number = experiment.next - begun
        known = store.trials(experiment.id, [number])
        rest = [
            NewTrial(number + i, trial.params, seeds[i], origin=trial.origin)
            for trial in known
            for i in range(begun, len(seeds))
        ]
        return rest, number + len(seeds), False
    history = memory.history(store, experiment, plan)
    # One at a time: it is on its way before the next is thought of, which then may know more.
    suggested = memory.searcher(segment.method).suggest(history, [experiment.next])
    trials = [
        NewTrial(
            experiment.next + i, suggestion.params, seed, origin=memory.origin(segment.method, history, suggestion)
        )
        for suggestion in suggested
        for i, seed in enumerate(seeds)
    ]
    return trials, experiment.next + len(trials), not suggested


class Memory:
    """What a process remembers of one experiment: its history so far, and searchers with their caches."""

    def __init__(self, spec: Spec, start: Start = NO_START) -> None:
        self._spec = spec
        self._start = start
        self._chronicle = Chronicle(spec.metric_names)
        self._next = 0  # one past the last number that was read
        self._open: set[int] = set()  # numbers below that, of trials that may still change
        self._searchers: dict[str, AdaptiveSearcher] = {}
        self._thought_s: deque[float] = deque(maxlen=_RECENT)  # what the last suggestions took
        self._ran_s: deque[float] = deque(maxlen=_RECENT)  # how long the last trials ran

    @property
    def share(self) -> float:
        """What a suggestion takes, with its way to a worker, as a share of what a trial takes; 0 while unknown."""
        if not self._thought_s or not self._ran_s:
            return 0.0
        return (median(self._thought_s) + _WAY_S) / max(median(self._ran_s), 1e-3)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure a suggestion."""
        began_at = time.monotonic()
        yield
        self._thought_s.append(time.monotonic() - began_at)

    def is_of(self, experiment: Experiment) -> bool:
        """Whether it may be true of an experiment: a store may have lost its last second."""
        return self._next <= experiment.next

    def searcher(self, method: str) -> AdaptiveSearcher:
        """The searcher of one of the methods."""
        if method not in self._searchers:
            self._searchers[method] = searcher(Task.of(self._spec, method))
        return self._searchers[method]

    def history(self, store: Store, experiment: Experiment, plan: Plan) -> History:
        """The history as the store has it. The log is read first: a trial that ends meanwhile counts as running."""
        log = store.finishing(experiment.id)
        if not self._chronicle.continues_in(log):
            self._chronicle, self._next, self._open = Chronicle(self._spec.metric_names), 0, set()
        numbers = [*sorted(self._open), *range(self._next, experiment.next)]
        found = store.trials(experiment.id, numbers) if numbers else []
        self._open = set(numbers) - {trial.number for trial in found if trial.state in LASTING}
        self._next = experiment.next
        self._ran_s += [trial.run_s for trial in found if trial.run_s is not None and trial.state in LASTING]
        first_of = dict(plan.firsts(trial.number for trial in found))
        return self._start.before(self._chronicle.history(found, log, first_of))

    def origin(self, method: str, history: History, suggestion: Suggestion) -> dict[str, Any]:
        """Where the point of a trial comes from, as in Trial."""
        parents = [number for number in suggestion.parents if number >= 0]
        ancestors = [self._start.ancestor(number) for number in suggestion.parents if number < 0]
        return {
            "method": method,
            "seen": history.seen,
            **({"parents": parents} if parents else {}),
            **({"ancestors": ancestors} if ancestors else {}),
        }


_memories: OrderedDict[tuple[str, float, str], Memory] = OrderedDict()


def _memory(experiment: Experiment, archive: Archive | None) -> Memory:
    """What is remembered of an experiment, or a new memory."""
    key = (experiment.id, experiment.created_at, experiment.spec)
    memory = _memories.pop(key, None)
    if memory is None or not memory.is_of(experiment):
        spec = Spec.from_json(experiment.spec)
        memory = Memory(spec, _start(archive, spec))
    _memories[key] = memory
    while len(_memories) > _KEPT:
        _memories.popitem(last=False)
    return memory


def _start(archive: Archive | None, spec: Spec) -> Start:
    """What the spec's searcher is told first. Raises ArchiveError, UnreachableError."""
    if spec.start_from is None:
        return NO_START
    if archive is None:
        raise ArchiveError("what the search starts from lies in the archive, and there is none at hand")
    with opened(archive, spec.start_from.digest) as lines:
        return read_start(lines)
