"""From an archive alone back into an empty store."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby, islice, repeat
from operator import itemgetter
from typing import Any, TypeVar

from optml_queue.archive import Archive, kept
from optml_queue.archive_source import ArchiveSource
from optml_queue.search import Plan, PlannedTrial, segments
from optml_queue.spec import Spec
from optml_queue.store import Experiment, ExperimentState, RestoredTrial, Store, Submission
from optml_queue.trial import TERMINAL_STATES, Trial

RESTORED = "restored from the archive"  # the reason why such an experiment is paused
BATCH = 500  # records that one script writes
_NUMBERS = 1_000  # of the plan, taken in one go
_Item = TypeVar("_Item")
_NO_TRIAL = -1  # in the log: an entry that the lost store had


class Restoration:
    """One experiment's way back.

    What it writes goes into the store by scripts that leave alone what is there already, and that do nothing when
    the restoring has ended. So two may go side by side, and a later one may go on where an earlier one was killed.
    The memory that it takes is 16 bytes for each finished trial.
    """

    def __init__(self, store: Store, archive: Archive, experiment: str) -> None:
        self._store = store
        self._archive = archive
        self._source = ArchiveSource(archive)
        self._id = experiment
        self._ended_at = array("d")
        self._numbers = array("q")
        self._reused = 0

    def run(self) -> bool:
        """Bring it back. False when the store has it already. Raises NotFoundError and ArchiveError."""
        record = self._source.record(self._id)
        spec = Spec.from_json(record.spec)
        if not self._store.restore(record, submission_of(spec, record.facts)):
            return False
        return self._finished() and self._attempts() and self._rest(record, spec)

    def _finished(self) -> bool:
        finished = (trial for trial in self._source.stream(self._id) if trial.state in TERMINAL_STATES)
        return all(self._store.restore_finished(self._id, batch) for batch in _batches(map(self._noted, finished)))

    def _noted(self, trial: Trial) -> Trial:
        self._ended_at.append(trial.finished_at or 0.0)
        self._numbers.append(trial.number)
        self._reused += bool(trial.reused_from)
        return trial

    def _attempts(self) -> bool:
        by_trial = groupby(self._source.all_attempts(self._id), itemgetter(0))
        ended = ((number, [attempt for _, attempt in group]) for number, group in by_trial)
        return all(self._store.restore_attempts(self._id, dict(batch)) for batch in _batches(ended))

    def _rest(self, record: Experiment, spec: Spec) -> bool:
        """Bring back what had begun or waited, and end."""
        plan = segments(spec)
        next_ = max([record.next, *(number + 1 for number in self._numbers[-1:])])
        existing = _planned(plan, next_)
        counted = _Counted(existing)
        queued = self._unfinished(counted)
        is_whole = True
        for batch in _batches(queued):
            is_whole = False
            if not self._store.restore_queued(self._id, batch):
                return False
        created = counted.count + self._suggested(plan)
        used_up = record.max_trials is not None and created >= record.max_trials
        is_spent = next_ >= plan.end or used_up
        restored = replace(record, next=next_, created=created, exhausted=is_spent, reused=self._reused)
        return self._store.restored(_as_it_stands(restored, is_whole=is_whole), self._log())

    def _unfinished(self, planned: Iterable[PlannedTrial]) -> Iterator[RestoredTrial]:
        """The trials below the next number that have no result. Both they and the finished ones come by number."""
        begun = self._begun()
        finished = iter(self._numbers)
        ended = next(finished, None)
        for number, point, seed in planned:
            while ended is not None and ended < number:
                ended = next(finished, None)
            if number != ended:
                yield RestoredTrial(number, point, seed, *begun.get(number, (0, "")))

    def _suggested(self, plan: Plan) -> int:
        """How many of the finished trials have points that were suggested: the plan does not know them.

        Those that were reserved and had no result are gone with the store; others are suggested in their place.
        """
        return sum(plan.suggested(number) is not None for number in self._numbers) if plan.learns else 0

    def _begun(self) -> Mapping[int, tuple[int, str]]:
        """Attempts, and the key of the last checkpoint, of trials of which the archive has something."""
        finished = frozenset(self._numbers)
        last: dict[int, str] = {}
        attempts: dict[int, int] = {}
        for key in chain(self._archive.keys(f"{self._id}/checkpoints"), self._archive.keys(f"{self._id}/logs")):
            checkpoint = kept.checkpoint_of(key)
            found = checkpoint or kept.output_of(key)
            if found is None or found[0] in finished:
                continue
            number, attempt = found[:2]
            attempts[number] = max(attempts.get(number, 0), attempt)
            if checkpoint is not None:
                last[number] = max(last.get(number, ""), key, key=kept.age_of)
        return {number: (count, last.get(number, "")) for number, count in attempts.items()}

    def _log(self) -> Iterator[int]:
        """The numbers in order of finishing.

        It is as long as the lost one, of which the archive's parts and final files name places.
        """
        missing = self._source.log_length(self._id) - len(self._numbers)
        order = sorted(range(len(self._numbers)), key=lambda i: (self._ended_at[i], self._numbers[i]))
        return chain(repeat(_NO_TRIAL, max(0, missing)), (self._numbers[i] for i in order))


class _Counted:
    """An iterable that knows how many it has given."""

    def __init__(self, items: Iterable[PlannedTrial]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[PlannedTrial]:
        for item in self._items:
            self.count += 1
            yield item


def _planned(plan: Plan, stop: int) -> Iterator[PlannedTrial]:
    """The trials of a plan below a number."""
    number = 0
    while number < stop:
        if (segment := plan.suggested(number)) is not None:
            number = segment.end  # its points cannot be computed
            continue
        taken, number = plan.take(number, min(_NUMBERS, stop - number))
        yield from (trial for trial in taken if trial[0] < stop)


def _as_it_stands(record: Experiment, *, is_whole: bool) -> Experiment:
    """The record with the state in which the experiment comes back."""
    if record.state is ExperimentState.STOPPED or (record.is_over and is_whole):
        return record
    return replace(record, state=ExperimentState.PAUSED, reason=RESTORED, finished_at=None)


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def submission_of(spec: Spec, told: Mapping[str, Any]) -> Submission:
    """What an experiment with this spec begins with. `told` are facts about where it was submitted."""
    return Submission(
        name=spec.name,
        spec=spec.to_json(),
        end=segments(spec).end,
        metric=spec.metric,
        goal=spec.goal,
        resource_class=spec.resource_class,
        max_parallel=spec.max_parallel,
        max_failed=spec.max_failed,
        max_trials=spec.max_trials,
        max_attempts=spec.retry.max_attempts,
        retry_on=tuple(sorted(spec.retry.on)),
        backoff_s=spec.retry.backoff_s,
        max_backoff_s=spec.retry.max_backoff_s,
        timeout_s=spec.timeout_s,
        priority=spec.priority,
        batch=spec.batch,
        at=spec.at,
        early_stopping=spec.early_stopping,
        target=spec.target,
        budget=spec.budget,
        retain=spec.retain,
        facts=told,
    )
