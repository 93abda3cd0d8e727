"""The experiments that only the archive has: the store was emptied, or has forgotten them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, Thread
from time import monotonic

from optml_queue.api.archived import ArchivedExperiment, ArchivedTrials
from optml_queue.api.columns import CELLS_MAX
from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.errors import ArchiveError, NotFoundError, OptmlError, UnreachableError
from optml_queue.trial import Trial, TrialState

OPEN_MAX = 4  # experiments whose trials are at hand
LOOK_S = 15.0  # between two looks at what the archive has
READ_LIMIT_S = 1.0  # that one request waits for records
READERS = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """What the archive alone has, the newest first; `unread` more were not read in time.

    `problem` says so when the archive does not answer.
    """

    experiments: Sequence[ArchivedExperiment] = ()
    unread: int = 0
    problem: str = ""


class Shelf:
    """Looked at when asked for. What is kept is a cache: records of experiments, and the trials of the last few."""

    def __init__(self, archive: Callable[[], Archive]) -> None:
        self._archive = archive
        self._listed: dict[str, ArchivedExperiment] = {}  # without specs, which may be long
        self._ids: list[str] = []
        self._problem, self._look_at = "", 0.0
        self._work: Thread | None = None
        self._open: OrderedDict[str, ArchivedTrials] = OrderedDict()
        self._lock, self._list_lock = Lock(), Lock()

    def close(self) -> None:
        """Read no more."""
        for trials in self._open.values():
            trials.close()

    # One

    def find(self, text: str) -> ArchivedExperiment:
        """The experiment meant by an id or `latest`. Raises NotFoundError, ArchiveError, UnreachableError."""
        id_ = self._latest() if text == "latest" else text
        source = self._source
        if not id_ or not source.has(id_):
            raise NotFoundError(f"the archive {source.archive.url} has no experiment {text!r}")
        found = ArchivedExperiment.read(source, id_)
        return found if found.is_final else self.trials(found).experiment()

    def trials(self, found: ArchivedExperiment) -> ArchivedTrials:
        """The trials of an experiment, read anew when what is archived of it has changed."""
        with self._lock:
            trials = self._open.pop(found.id, None)
            if trials is None or trials.tag != found.tag or trials.has_failed:
                if trials is not None:
                    trials.close()
                trials = ArchivedTrials(self._source, found)
            self._open[found.id] = trials
            self._make_room()
        return trials

    def _make_room(self) -> None:
        cells = sum(trials.cells for trials in self._open.values())
        while len(self._open) > OPEN_MAX or (cells > CELLS_MAX and len(self._open) > 1):
            _, oldest = self._open.popitem(last=False)
            cells -= oldest.cells
            oldest.close()

    def _latest(self) -> str:
        listed = self.listed(()).experiments
        return listed[0].id if listed else ""

    @property
    def _source(self) -> ArchiveSource:
        return ArchiveSource(self._archive())

    # All

    def listed(self, known: Collection[str]) -> Listing:
        """Those that are not `known` to the store, as many as could be read in READ_LIMIT_S.

        A thread reads; it goes on to its end, and the next request finds what it has read.
        """
        work = self._work_on(frozenset(known))
        if work is not None:
            work.join(READ_LIMIT_S)
        with self._list_lock:
            for id_ in known:  # it may come to be here again, with another end
                self._listed.pop(id_, None)
            found = [self._listed[id_] for id_ in self._ids if id_ in self._listed]
            unread = len(self._unread(known))
            is_silent = work is not None and work.is_alive() and not self._ids
            problem = f"the archive {self._archive().url} has not answered yet" if is_silent else self._problem
        return Listing(sorted(found, key=lambda each: (each.created_at, each.id), reverse=True), unread, problem)

    def forget(self, experiment: str) -> None:
        """An experiment was brought back or removed: what was known of it is not true any more."""
        with self._list_lock:
            self._listed.pop(experiment, None)
            self._look_at = 0.0

    def _work_on(self, known: frozenset[str]) -> Thread | None:
        """The thread that reads what is there, if it is time to look, or one reads already."""
        with self._list_lock:
            if self._work is None or not self._work.is_alive():
                is_due = monotonic() >= self._look_at or (not self._problem and bool(self._unread(known)))
                self._work = Thread(target=self._read, args=(known,), daemon=True) if is_due else None
                if self._work is not None:
                    self._work.start()
            return self._work

    def _read(self, known: frozenset[str]) -> None:
        problem = ""
        try:
            source = self._source
            ids = source.folders()
            with self._list_lock:
                self._ids = ids
                self._listed = {id_: self._listed[id_] for id_ in ids if id_ in self._listed}
                new = self._unread(known)
            with ThreadPoolExecutor(READERS) as pool:
                for id_, found in zip(new, pool.map(partial(_entry, source), new), strict=True):
                    self._take(id_, found)
        except OptmlError as error:
            problem = str(error)
        with self._list_lock:
            self._problem, self._look_at = problem, monotonic() + LOOK_S

    def _take(self, id_: str, found: ArchivedExperiment | None) -> None:
        with self._list_lock:
            if found is None:
                self._ids.remove(id_)  # a folder of something else
            else:
                self._listed[id_] = found

    def _unread(self, known: Collection[str]) -> list[str]:
        return [id_ for id_ in self._ids if id_ not in known and id_ not in self._listed]


def _entry(source: ArchiveSource, id_: str) -> ArchivedExperiment | None:
    """What a list shows of an experiment; None for what is none, or cannot be read."""
    try:
        if not source.has(id_):
            return None
        found = ArchivedExperiment.read(source, id_)
    except UnreachableError:
        raise
    except OptmlError:
        return None
    if found.is_final:
        return replace(found, spec="", best=_best(source.archive, found))
    return replace(found, spec="", finished=source.log_length(id_))


def _best(archive: Archive, found: ArchivedExperiment) -> Trial | None:
    """The best trial by the archive's summary."""
    try:
        best = json.loads(archive.get(f"{found.id}/summary.json"))["best"]
        return best and Trial(
            best["number"], TrialState.COMPLETE, best["params"], best["seed"], {found.metric: best["value"]}
        )
    except (ArchiveError, ValueError, KeyError, TypeError):
        return None
