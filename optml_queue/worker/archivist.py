"""The archivist: a thread of the control process that writes what finished into the archive.

A slow archive stalls nobody but the archive. Every control process has an archivist; the one that holds an experiment's
claim writes, the others look whether it still does.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Iterable

from optml_queue import results
from optml_queue.archive import open_archive
from optml_queue.errors import NotFoundError, OptmlError, UnreachableError
from optml_queue.results import consolidate, write_parts
from optml_queue.store import Store
from optml_queue.worker.claims import Claims

logger = logging.getLogger(__name__)

LOOK_S = 1.0
STAND_BACK_S = 3.0  # after a failure: another process, elsewhere, may reach the archive
REST_S = 0.1  # news come with every advance: hundreds a second, when trials are short
PART_AGE_S = 60.0  # the longest that a result waits for its part to fill


class Archivist(threading.Thread):
    """Writes parts of running experiments, and the final files of those that are over."""

    def __init__(self, store: Store, archive_url: str) -> None:
        super().__init__(name="archivist", daemon=True)
        self._store = store
        self._archive_url = archive_url
        self._claims = Claims(store)
        self._stands_back_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._watched: dict[str, float] = {}  # experiment → when its last part was forced out
        self._news = threading.Event()
        self._is_behind = False

    def watch(self, experiments: Iterable[str]) -> None:
        """Look after these experiments until they are over and archived, beginning now."""
        with self._lock:
            for experiment in experiments:
                self._watched.setdefault(experiment, time.monotonic())
        self._news.set()

    def recall(self) -> None:
        """Take up all that is unfinished: what an archivist before left, or a server forgot that was started anew.

        A server that crashes may forget its last second, and in it that an experiment was archived as it ended.
        """
        self._is_behind = True
        self._news.set()

    def run(self) -> None:
        """Look after the watched experiments for ever."""
        _warm_up()
        while True:
            self._news.wait(LOOK_S)
            self._news.clear()
            self._recall()
            with self._lock:
                watched = list(self._watched)
            for experiment in watched:
                self._look_after(experiment)
            time.sleep(REST_S)

    def _recall(self) -> None:
        if not self._is_behind:
            return
        self._is_behind = False
        try:
            self.watch([found.id for found in self._store.experiments() if not found.is_consolidated])
        except OptmlError as error:
            self._is_behind = True
            logger.warning("archive: cannot list experiments yet: %s", error)

    def _look_after(self, experiment: str) -> None:
        if time.monotonic() < self._stands_back_until.get(experiment, 0.0):
            return
        try:
            if self._claims.take(experiment) and self._archive(experiment):
                self._claims.let_go(experiment)
                self._forget(experiment)
        except NotFoundError:
            self._forget(experiment)
        except OptmlError as error:
            logger.warning("archive of %s: %s; trying again", experiment, error)
            if not (isinstance(error, UnreachableError) and error.what == "the store"):
                self._stand_back(experiment)
        except Exception:
            # One experiment that cannot be archived must not keep the others from it.
            logger.exception("archive of %s failed; trying again", experiment)
            self._stand_back(experiment)

    def _archive(self, experiment: str) -> bool:
        """Write what there is; whether the experiment is over and wholly archived."""
        found = self._store.experiment(experiment)
        if found.is_consolidated:
            return True
        archive = open_archive(self._archive_url)
        due = found.is_over or time.monotonic() - self._watched[experiment] > PART_AGE_S
        if not due and found.finished - found.archived < results.PART_LENGTH:
            return False
        with self._claims.kept(experiment):
            write_parts(self._store, archive, experiment, force=due)
            while self._store.forget(experiment):
                pass  # a few hundred at a time, for the store has others to serve
            if found.is_over:
                consolidate(self._store, archive, experiment)
        if due:
            self._watched[experiment] = time.monotonic()
        return found.is_over

    def _stand_back(self, experiment: str) -> None:
        self._stands_back_until[experiment] = time.monotonic() + STAND_BACK_S
        self._claims.let_go(experiment)

    def _forget(self, experiment: str) -> None:
        self._stands_back_until.pop(experiment, None)
        with self._lock:
            self._watched.pop(experiment, None)


def _warm_up() -> None:
    """Import what the final files need before there is anything to write: experiments then end half a second sooner."""
    for module in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        try:
            importlib.import_module(module)
        except ImportError:
            logger.exception("%s is missing: figures cannot be drawn", module)
