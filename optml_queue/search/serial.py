"""A search in one process: the next trial, its result, the next trial, without store or queue."""

from __future__ import annotations

from collections.abc import Iterator

from optml_queue.search.adaptive import AdaptiveSearcher, Task, searcher
from optml_queue.search.history import history_of
from optml_queue.search.plan import Plan, PlannedTrial, Segment
from optml_queue.search.start import NO_START, Start
from optml_queue.spec import Spec
from optml_queue.trial import Params, Trial, TrialResult, TrialState


class SerialSearch:
    """The trials of a spec in order; each result is told before the next trial is asked for.

    `start` is what its searcher is told first. Raises InputError when a package is missing that the method needs.
    """

    def __init__(self, spec: Spec, plan: Plan, start: Start = NO_START) -> None:
        self._spec = spec
        self._plan = plan
        self._start = start
        self._searchers: dict[str, AdaptiveSearcher] = {}
        self._trials: dict[int, Trial] = {}
        self._log: list[int] = []

    def __iter__(self) -> Iterator[PlannedTrial]:
        number, left = 0, self._plan.max_trials
        while number < self._plan.end and left != 0:
            segment = self._plan.suggested(number)
            if segment is None:
                taken, number = self._plan.take(number, 1_000, left)
            else:
                taken, number = self._suggested(segment, number), number + len(segment.seeds)
                if not taken:
                    return
            for trial in taken[:left]:
                self._begin(*trial)
                yield trial
            left = None if left is None else max(0, left - len(taken))

    def tell(self, number: int, result: TrialResult) -> None:
        """A trial ended."""
        trial = self._trials[number]
        self._log.append(number)
        self._trials[number] = Trial(
            number,
            result.state,
            trial.params,
            trial.seed,
            dict(result.metrics),
            finished_at=float(len(self._log)),
            origin=trial.origin,
        )

    def _begin(self, number: int, params: Params, seed: int) -> None:
        segment = self._plan.suggested(number)
        origin = {"method": segment.method, "seen": len(self._log)} if segment else {}
        self._trials[number] = Trial(number, TrialState.RUNNING, params, seed, origin=origin)

    def _suggested(self, segment: Segment, number: int) -> list[PlannedTrial]:
        if segment.method not in self._searchers:
            self._searchers[segment.method] = searcher(Task.of(self._spec, segment.method))
        first_of = dict(self._plan.firsts(self._trials))
        history = self._start.before(history_of(self._trials.values(), self._log, self._spec.metric_names, first_of))
        found = self._searchers[segment.method].suggest(history, [number])
        return [(number + i, found[0].params, seed) for i, seed in enumerate(segment.seeds)] if found else []
