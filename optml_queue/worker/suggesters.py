"""Threads of the control process that suggest trials, so that a sampler that thinks keeps nobody waiting but its own.

A Gaussian process may take seconds for one point, and whoever waits for it publishes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from optml_queue import experiments
from optml_queue.archive import Archive
from optml_queue.errors import NotFoundError, OptmlError
from optml_queue.store import Store

logger = logging.getLogger(__name__)

THREADS = 4  # experiments that are suggested for at a time


class Suggesters:
    """Suggest for experiments, each in one thread at a time; what is reserved is claimed by who is told of it.

    Asking twice is no waste: while a suggestion is made, further wishes for the same experiment become one.
    """

    def __init__(self, store: Store, archive: Callable[[], Archive]) -> None:
        self._store = store
        self._archive = archive
        self._lock = threading.Lock()
        self._asked_again: dict[str, bool] = {}  # of the experiments that wait or are suggested for
        self._waiting: SimpleQueue[str] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def ask(self, experiment: str) -> None:
        """Have an experiment suggested for, as far as it lacks trials. Returns at once."""
        with self._lock:
            if experiment in self._asked_again:
                self._asked_again[experiment] = True
                return
            self._asked_again[experiment] = False
            if len(self._threads) < min(THREADS, len(self._asked_again)):
                # Daemons: a process that is told to end waits for no sampler, and nothing is lost with it.
                self._threads.append(threading.Thread(target=self._run, name="suggester", daemon=True))
                self._threads[-1].start()
        self._waiting.put(experiment)

    def _run(self) -> None:
        while True:
            experiment = self._waiting.get()
            is_wanted = self._suggest(experiment)
            with self._lock:
                is_wanted |= self._asked_again.pop(experiment)
            if is_wanted:
                self.ask(experiment)

    def _suggest(self, experiment: str) -> bool:
        """One point; whether there was something to suggest, so that there may be more."""
        try:
            if experiments.suggest(self._store, experiment, self._archive()):
                self._store.want(experiment)
                return True
        except NotFoundError:
            pass  # removed meanwhile
        except OptmlError as error:
            logger.error("%s: nothing can be suggested: %s", experiment, error)
        except Exception:
            # One experiment's fault must not end the thread that others need.
            logger.exception("%s: nothing can be suggested", experiment)
        return False
