"""Experiments that came before, wherever they are known: in the store, else in the archive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError, NotFoundError
from optml_queue.store import Experiment, is_experiment_id
from optml_queue.trial import Trial

_READERS = 8  # records of an archive that are read at once


class Known(Protocol):
    """The part of a store, or of an archive alone, that is needed here."""

    def experiments(self) -> list[Experiment]: ...

    def experiment(self, experiment: str, /) -> Experiment: ...

    def resolve(self, text: str, /) -> str: ...

    def stream(self, experiment: str, /) -> Iterator[Trial]: ...


@dataclass(frozen=True, slots=True)
class EarlierExperiment:
    """An experiment's record, and where its trials are."""

    record: Experiment
    source: Known

    def trials(self) -> Iterator[Trial]:
        """Every trial, in the order of numbers, in constant memory."""
        return self.source.stream(self.record.id)


class Earlier:
    """Finds experiments. One that the store is only about to bring back is read from the archive."""

    def __init__(self, archive: Archive, store: Known | None = None) -> None:
        self._archive = ArchiveSource(archive)
        self._store = store

    def find(self, name: str) -> EarlierExperiment:
        """The experiment of an id, or `latest`. Raises NotFoundError."""
        if not is_experiment_id(name):
            raise NotFoundError(f"{name[:100]!r} is no experiment's id; `optml ls` shows those there are")
        if self._store is None:
            return EarlierExperiment(self._archive.record(self._archive.resolve(name)), self._archive)
        try:
            record = self._store.experiment(self._store.resolve(name))
        except NotFoundError:
            if name not in self._archive.ids():
                raise
            return EarlierExperiment(self._archive.record(name), self._archive)
        return EarlierExperiment(record, self._archive if record.is_restoring else self._store)

    def all(self) -> list[EarlierExperiment]:
        """All that there are, the newest first. Of the archive, the records of those are read that the store lacks."""
        stored = [] if self._store is None else [each for each in self._store.experiments() if not each.is_restoring]
        known = {record.id for record in stored}
        missing = [id_ for id_ in self._archive.ids() if id_ not in known]
        with ThreadPoolExecutor(_READERS) as pool:
            archived = [record for record in pool.map(self._archived, missing) if record is not None]
        found = [EarlierExperiment(record, self._archive) for record in archived]
        found += [EarlierExperiment(record, self._store) for record in stored if self._store is not None]
        return sorted(found, key=lambda each: (each.record.created_at, each.record.id), reverse=True)

    def _archived(self, experiment: str) -> Experiment | None:
        """An experiment's record; None when it was removed meanwhile, or cannot be read: then nothing is taken over."""
        try:
            return self._archive.record(experiment)
        except (ArchiveError, NotFoundError):
            return None
