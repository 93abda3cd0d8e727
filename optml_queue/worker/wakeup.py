"""Signals end the event loop's wait.

A worker that is told to stop is otherwise asleep for up to a second, and one whose child died may learn of it only at
the pool's next inspection, five seconds later.
"""

from __future__ import annotations

import signal
import socket
import threading
from typing import Any

from celery import bootsteps
from celery.signals import worker_process_init


class WakeOnSignal(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Has Python write each signal's number to a socket that the event loop reads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def start(self, _worker: Any) -> None:
        """Begin; only a process's main thread may handle signals."""
        if threading.current_thread() is threading.main_thread():
            worker_process_init.connect(behave_as_child)
            signal.signal(signal.SIGCHLD, _ignore)
            signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Called again whenever the loop was reset, after a lost connection."""
        hub.add_reader(self._reader.fileno(), self._heed, worker.pool, hub)

    def _heed(self, pool: Any, hub: Any) -> None:
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return
        if signal.SIGCHLD in numbers:
            # Not now: the dead child's own file may be among the events that the loop has still to handle. Its number
            # would go to the new child, which would then be taken for dead, and would end the worker at the next
            # lost connection.
            hub.call_soon(pool.maintain_pool)


def behave_as_child(**_: Any) -> None:
    """Undo in a child what its main process set up, and let SIGTERM end it even inside C code."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _ignore(_number: int, _frame: Any) -> None:
    """A handler must exist for the number to be written."""
