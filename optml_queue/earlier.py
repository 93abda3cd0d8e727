"""Experiments that came before, wherever they are known: in the store, else in the archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError, NotFoundError, OptmlError
from optml_queue.store import Experiment, is_experiment_id
from optml_queue.trial import Trial

_READERS = 8  # records of an archive that are read at once
_RECORD = 100  # trials that take as long to read as one such record


class Known(Protocol):
    """The part of a store, or of an archive alone, that is needed here."""

    def experiments(self) -> list[Experiment]: ...

    def experiment(self, experiment: str, /) -> Experiment: ...

    def resolve(self, text: str, /) -> str: ...

    def stream(self, experiment: str, /) -> Iterator[Trial]: ...


class Stored(Known, Protocol):
    """The part of a store that an archive does not have."""

    def curve(self, experiment: str, number: int, /) -> Mapping[int, float]: ...


class TooManyTrialsError(OptmlError):
    """More trials would have to be read than somebody who waits for an answer has the time for."""


@dataclass(slots=True)
class Allowance:
    """How many trials may be read yet."""

    left: float = math.inf

    def take(self, trials: int) -> None:
        """Raises TooManyTrialsError."""
        self.left -= trials
        if self.left < 0:
            raise TooManyTrialsError("too many trials of earlier experiments")


@dataclass(frozen=True, slots=True)
class EarlierExperiment:
    """An experiment's record, and where its trials are."""

    record: Experiment
    source: Known
    allowance: Allowance = field(default_factory=Allowance)

    def trials(self) -> Iterator[Trial]:
        """Every trial, in the order of numbers, in constant memory. Raises TooManyTrialsError."""
        for trial in self.source.stream(self.record.id):
            self.allowance.take(1)
            yield trial


class Earlier:
    """Finds experiments. One that the store is only about to bring back is read from the archive.

    No more than `most` trials are read, of all of them together.
    """

    def __init__(self, archive: Archive, store: Stored | None = None, most: float = math.inf) -> None:
        self._archive = ArchiveSource(archive)
        self._store = store
        self._allowance = Allowance(most)

    def find(self, name: str) -> EarlierExperiment:
        """The experiment of an id, or `latest`. Raises NotFoundError."""
        if not is_experiment_id(name):
            raise NotFoundError(f"{name[:100]!r} is no experiment's id; `optml ls` shows those there are")
        if self._store is None:
            return self._of_archive(self._archive.resolve(name))
        try:
            record = self._store.experiment(self._store.resolve(name))
        except NotFoundError:
            if name not in self._archive.ids():
                raise
            return self._of_archive(name)
        return EarlierExperiment(record, self._archive if record.is_restoring else self._store, self._allowance)

    def all(self) -> list[EarlierExperiment]:
        """All that there are, the newest first. Of the archive, the records of those are read that the store lacks.

        Raises TooManyTrialsError for records, too: many take as long as trials.
        """
        stored = [] if self._store is None else [each for each in self._store.experiments() if not each.is_restoring]
        known = {record.id for record in stored}
        missing = [id_ for id_ in self._archive.ids() if id_ not in known]
        self._allowance.take(_RECORD * len(missing))
        with ThreadPoolExecutor(_READERS) as pool:
            archived = [record for record in pool.map(self._archived, missing) if record is not None]
        found = [EarlierExperiment(record, self._archive, self._allowance) for record in archived]
        if self._store is not None:
            found += [EarlierExperiment(record, self._store, self._allowance) for record in stored]
        return sorted(found, key=lambda each: (each.record.created_at, each.record.id), reverse=True)

    def curve(self, experiment: str, number: int) -> Mapping[int, float]:
        """What a trial reported, value by step; empty where the store, which alone has it, does not know it."""
        return {} if self._store is None else self._store.curve(experiment, number)

    def _of_archive(self, experiment: str) -> EarlierExperiment:
        return EarlierExperiment(self._archive.record(experiment), self._archive, self._allowance)

    def _archived(self, experiment: str) -> Experiment | None:
        """An experiment's record; None when it was removed meanwhile, or cannot be read: then nothing is taken over."""
        try:
            return self._archive.record(experiment)
        except (ArchiveError, NotFoundError):
            return None
