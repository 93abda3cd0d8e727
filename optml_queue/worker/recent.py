"""The last seconds of results, said again after the server restarted.

An append-only file that is written once a second may lose its last second. The server has by then answered
"accepted", so only who said it can say it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from optml_queue.errors import UnreachableError
from optml_queue.trial import TrialResult

logger = logging.getLogger(__name__)

KEPT_S = 5.0
LOOK_S = 1.0


class FinishingStore(Protocol):
    """The part of a store that is needed here."""

    def finish(self, experiment: str, number: int, token: str, result: TrialResult, /) -> str: ...

    def server_run_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """One `finish` that was accepted."""

    experiment: str
    number: int
    token: str
    result: TrialResult


class RecentResults:
    """Results of this process that the server may still forget. A thread looks once a second while there are any."""

    def __init__(self, store: FinishingStore) -> None:
        self._store = store
        self._results: deque[tuple[float, Finished]] = deque()
        self._run_id: str | None = None
        self._some = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Note which start of the server is being spoken to. Raises UnreachableError."""
        if self._run_id is None:
            self._run_id = self._store.server_run_id()

    def keep(self, *finished: Finished) -> None:
        """Remember results for a few seconds."""
        now = time.monotonic()
        with self._some:
            self._results.extend((now, each) for each in finished)
            self._some.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recent-results", daemon=True)
            self._thread.start()

    def look(self) -> int:
        """Say all again if the server restarted, and forget what is old enough. How many were said again.

        While the server is away nothing grows old. Raises UnreachableError.
        """
        run_id = self._store.server_run_id()
        with self._some:
            kept = list(self._results)
        said = 0
        if run_id != self._run_id:
            for _, finished in kept:
                answer = self._store.finish(finished.experiment, finished.number, finished.token, finished.result)
                said += answer == "accepted"
            logger.info("the store restarted; %d of the last %d results were missing there", said, len(kept))
            self._run_id = run_id
        with self._some:
            while self._results and time.monotonic() - self._results[0][0] > KEPT_S:
                self._results.popleft()
        return said

    def _run(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: bool(self._results))
            time.sleep(LOOK_S)
            try:
                self.look()
            except UnreachableError:
                continue
            except Exception:
                logger.exception("could not see whether the store restarted; trying again")
