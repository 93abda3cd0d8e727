"""The trials of an experiment that only the archive has, with the reading methods of a store."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from threading import Condition, Thread
from typing import Self
from weakref import finalize

import numpy as np

from optml_queue.api.columns import ROWS_MAX, STATES, Columns, Rows, Table
from optml_queue.archive_source import ArchiveSource
from optml_queue.driver import Goal
from optml_queue.errors import ArchiveError, OptmlError, UnreachableError
from optml_queue.store import Experiment
from optml_queue.trial import TERMINAL_STATES, Attempt, Trial, TrialState

BATCH = 500  # trials between two looks at who waits
WAIT_S = 0.4  # of one request; its answer says how far it came

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchivedExperiment(Experiment):
    """An experiment that the store does not know, as it was put down last. `finished` counts trials.

    `is_final`: the archive's final files show its end. `missing` says in sentences what the archive does not have.
    `best` is its best trial, as far as that is known without reading the trials. `tag` changes with what is archived.
    """

    is_final: bool = False
    tag: str = ""
    missing: tuple[str, ...] = ()
    best: Trial | None = None

    @property
    def is_consolidated(self) -> bool:
        return self.is_final

    @classmethod
    def read(cls, source: ArchiveSource, experiment: str) -> Self:
        """Raises NotFoundError, ArchiveError, UnreachableError."""
        record = source.record(experiment)
        news = source.news(record)
        is_final = record.is_over and record.consolidated >= 0 and not news
        tag = hashlib.sha256(repr((record, news)).encode(errors="replace")).hexdigest()
        given = {each.name: getattr(record, each.name) for each in fields(Experiment)}
        missing = ["What trials reported by step is kept in the store alone."]
        if not is_final:
            missing.append(
                f"The archive does not know its end: it was {record.state} when it was put down last, and only trials "
                "that had finished are there. What failed attempts said, and what trials logged, comes at the end."
            )
        return cls(**given | {"finished": record.terminal}, is_final=is_final, tag=tag, missing=tuple(missing))


class ArchivedTrials:
    """One experiment's trials, read once into a temporary file, with an index beside it.

    A thread reads. Whoever asks meanwhile waits a moment and is answered from what there is. A trial takes a line on
    the disk, and 8 bytes for each figure of `Columns` in memory; at most a million trials are read. The methods are
    those of `Store`; they raise what reading the archive raised.
    """

    def __init__(self, source: ArchiveSource, found: ArchivedExperiment) -> None:
        self._source = source
        self._found = found
        self._table = Table.of(found)
        self._numbers, self._states, self._offsets = array("q"), array("q"), array("q", [0])
        self._counts: Counter[TrialState] = Counter(dict.fromkeys(TrialState, 0))
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        finalize(self, self._file.close)  # not by `close`: somebody may be reading
        self._grown = Condition()
        self._is_whole = self._is_closed = False
        self._failure: OptmlError | None = None
        Thread(target=self._read, name=f"archive of {found.id}", daemon=True).start()

    # Reading the archive

    def _read(self) -> None:
        trials = islice(self._source.stream(self._found.id), ROWS_MAX)
        try:
            while not self._is_closed and (batch := list(islice(trials, BATCH))):
                self._take(batch)
        except OptmlError as error:
            self._failure = error
        except Exception:
            logger.exception("the archive of %s cannot be read", self._found.id)
            self._failure = ArchiveError(f"the archive of {self._found.id} cannot be read; the server's log says why")
        with self._grown:
            self._is_whole = True
            self._grown.notify_all()

    def _take(self, batch: Sequence[Trial]) -> None:
        lines = [f"{trial.to_json()}\n".encode() for trial in batch]
        self._file.write(b"".join(lines))
        with self._grown:
            for trial, line in zip(batch, lines, strict=True):
                self._numbers.append(trial.number)
                self._states.append(STATES.index(trial.state))
                self._offsets.append(self._offsets[-1] + len(line))
                self._counts[trial.state] += 1
                if trial.state in TERMINAL_STATES:
                    self._table.add(trial, len(self._table))
            self._table.covered = len(self._table)

    def close(self) -> None:
        """Read no more."""
        self._is_closed = True

    @property
    def tag(self) -> str:
        """That of what is read."""
        return self._found.tag

    @property
    def has_failed(self) -> bool:
        """Whether another try may do better."""
        return self._failure is not None

    @property
    def cells(self) -> int:
        """How many figures of 8 bytes it holds."""
        return self._table.cells + 3 * len(self._numbers)

    def _waited(self) -> None:
        """Wait until all has been read, or a moment; raises what went wrong."""
        with self._grown:
            self._grown.wait_for(lambda: self._is_whole, WAIT_S)
        if self._failure is not None:
            raise self._failure

    # What a store would say

    def experiment(self) -> ArchivedExperiment:
        """The experiment, its trials counted where nobody has yet."""
        self._waited()
        found = self._found
        with self._grown:
            counts, covered, is_whole = dict(self._counts), len(self._numbers), self._is_whole
        missing = found.missing
        if not is_whole:
            missing += (f"The archive is being read: {covered:,} trials so far; ask again.",)
        elif covered == ROWS_MAX:
            missing += (f"Of so many trials the first {ROWS_MAX:,} are shown; results.csv has them all.",)
        if found.is_final:
            return replace(found, missing=missing)
        ended = sum(counts[state] for state in TERMINAL_STATES)
        return replace(found, counts=counts, finished=ended, created=max(found.created, covered), missing=missing)

    def columns(self) -> Columns:
        """The finished trials in columns, by number; `places` are theirs by number too."""
        self._waited()
        with self._grown:
            covered = self._table.covered
            return self._table.columns(covered if self._is_whole else max(covered + 1, self._found.finished))

    def trials(self, _experiment: str, numbers: Sequence[int]) -> list[Trial]:
        """The trials of those numbers that exist. Raises UnreachableError for one that was not read yet."""
        self._waited()
        with self._grown:
            known = np.array(self._numbers, dtype=np.int64)
            is_whole = self._is_whole
        if not is_whole and numbers and (not len(known) or max(numbers) > known[-1]):
            raise UnreachableError("the archive", self._source.archive.url, "it is being read; try again in a moment")
        places = np.searchsorted(known, np.array(numbers, dtype=np.int64))
        return self._at([p for n, p in zip(numbers, places.tolist(), strict=True) if p < len(known) and known[p] == n])

    def page(self, experiment: str, state: TrialState | None = None, offset: int = 0, limit: int = 100) -> list[Trial]:
        """Trials `offset` to `offset + limit` by number; complete ones, when asked for alone, best first."""
        if state is TrialState.COMPLETE:
            return self.best(experiment, offset + limit)[offset:]
        self._waited()
        with self._grown:
            states = np.array(self._states, dtype=np.int64)
        rows = np.arange(len(states)) if state is None else np.flatnonzero(states == STATES.index(state))
        return self._at(rows[offset : offset + limit].tolist())

    def best(self, experiment: str, limit: int = 1) -> list[Trial]:
        """The complete trials with the best metric, the best first."""
        columns = self.columns()
        rows = np.flatnonzero(np.isfinite(columns.value))
        badness = columns.value[rows] * (1 if self._found.goal == Goal.MINIMIZE else -1)
        return self._ordered(experiment, columns, rows[np.lexsort((columns.numbers[rows], badness))][:limit])

    def finished(self, experiment: str, start: int, stop: int) -> list[Trial]:
        """Trials `start` to `stop` (exclusive) of those that ended, in the order of ending."""
        columns = self.columns()
        rows = np.lexsort((columns.numbers, columns.finished_at))[start:stop]
        return self._ordered(experiment, columns, rows)

    def stream(self, experiment: str) -> Iterator[Trial]:
        """Every trial there is, in the order of numbers."""
        return self._source.stream(experiment)

    def attempts(self, experiment: str, number: int) -> list[Attempt]:
        """The attempts of a trial that ended without a result."""
        return self._source.attempts(experiment, number)

    def curve(self, _experiment: str, _number: int) -> dict[int, float]:
        """Nothing: what trials report is not archived."""
        return {}

    def logs(self, experiment: str, number: int, start: int = 0) -> list[str]:
        """The lines kept with a trial, from line `start` on."""
        return self._source.logs(experiment, number, start)

    def live_workers(self, _resource_class: str) -> int:
        """None: nobody works for an archive."""
        return 0

    def _ordered(self, experiment: str, columns: Columns, rows: Rows) -> list[Trial]:
        return self.trials(experiment, columns.numbers[rows].tolist())

    def _at(self, places: Sequence[int]) -> list[Trial]:
        with self._grown:
            spans = [(self._offsets[place], self._offsets[place + 1]) for place in places]
        return [Trial.from_json(os.pread(self._file.fileno(), end - begin, begin)) for begin, end in spans]
