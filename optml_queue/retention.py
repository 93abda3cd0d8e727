"""A store that has given up records for those in the archive (`retain: summary`), and reads as if it had not."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from optml_queue.driver import Goal
from optml_queue.store import Store
from optml_queue.store.store import BEST_KEPT, FIRST_KEPT
from optml_queue.summary import value_of
from optml_queue.trial import Trial, TrialState

if TYPE_CHECKING:
    from optml_queue.archive_source import ArchiveSource


class RetainingStore(Store):
    """The store of an installation, together with its archive.

    Only what the store has no longer is read from there: a page of trials, or one trial, by reading over all that the
    archive has of the experiment. Memory stays constant.
    """

    archive_url = ""

    @classmethod
    def beside(cls, archive_url: str, url: str, **options: Any) -> Self:
        """Connect to the store at `url`, as `from_url` does; what it gave up lies in the archive at `archive_url`."""
        store = cls.from_url(url, **options)
        store.archive_url = archive_url
        return store

    @cached_property
    def archived(self) -> ArchiveSource:
        """The archive, opened when it is needed for the first time."""
        from optml_queue.archive import open_archive
        from optml_queue.archive_source import ArchiveSource

        return ArchiveSource(open_archive(self.archive_url))

    def trials(self, experiment: str, numbers: Sequence[int]) -> list[Trial]:
        """The trials of those numbers that exist, in the order asked for."""
        found = {trial.number: trial for trial in super().trials(experiment, numbers)}
        # Asked for after the records: what is given up meanwhile is seen.
        if missing := self.only_archived(experiment, [number for number in numbers if number not in found]):
            found |= {trial.number: trial for trial in self.archived.trials(experiment, missing)}
        return [found[number] for number in numbers if number in found]

    def finished(self, experiment: str, start: int, stop: int) -> list[Trial]:
        """Entries `start` to `stop` (exclusive) of the log of finished trials, in the order of finishing."""
        there = super().finished(experiment, start, stop)
        if self.forgotten(experiment) <= start:
            return there
        numbers = self.finishing(experiment, start, stop)
        found = {trial.number: trial for trial in there}
        missing = self.only_archived(experiment, [number for number in numbers if number not in found])
        if missing:
            wanted = set(missing)
            parts = self.archived.parts(experiment, start, stop)
            found |= {trial.number: trial for trial in parts if trial.number in wanted}
            # A store that was restored has another log than the one by which the parts are named.
            if others := [number for number in missing if number not in found]:
                found |= {trial.number: trial for trial in self.archived.trials(experiment, others)}
        return [found[number] for number in numbers if number in found]

    def stream(self, experiment: str) -> Iterator[Trial]:
        """Every trial there is, in the order of numbers."""
        if not self.forgotten(experiment):
            yield from super().stream(experiment)
            return
        from optml_queue.export import Spool

        # The store first, whole: what it gives up meanwhile lies in the archive by the time that is read.
        with Spool(super().stream(experiment)) as kept:
            last = -1
            for trial in heapq.merge(kept, self.archived.stream(experiment), key=lambda trial: trial.number):
                if trial.number != last:  # of two, the first is the store's
                    yield trial
                last = trial.number

    def page(self, experiment: str, state: TrialState | None = None, offset: int = 0, limit: int = 100) -> list[Trial]:
        """Trials `offset` to `offset + limit` by number; complete ones, when asked for alone, best first."""
        stop = offset + limit
        heads: dict[TrialState | None, int] = {
            None: 0,
            TrialState.COMPLETE: BEST_KEPT,
            TrialState.DIVERGED: FIRST_KEPT,
            TrialState.STOPPED_EARLY: FIRST_KEPT,
        }
        if stop <= heads.get(state, stop) or not self.forgotten(experiment):
            return super().page(experiment, state, offset, limit)
        if state is TrialState.COMPLETE:
            return self._ranked(experiment, stop)[offset:]
        trials = (trial for trial in self.stream(experiment) if state in (None, trial.state))
        return list(islice(trials, offset, stop))

    def _ranked(self, experiment: str, most: int) -> list[Trial]:
        """The best trials in the order of the store's own ranking: of equal ones, "10" comes before "9"."""
        record = self.experiment(experiment)
        sign = -1 if record.goal == Goal.MAXIMIZE else 1
        valued = ((value_of(trial, record.metric), trial) for trial in self.stream(experiment))
        keyed = ((sign * value, str(trial.number), trial) for value, trial in valued if value is not None)
        return [trial for _, _, trial in heapq.nsmallest(most, keyed, key=lambda entry: entry[:2])]
