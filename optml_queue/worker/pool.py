"""Celery's pool of child processes, which replaces a dead one only when the event loop has handled all its events."""

from __future__ import annotations

from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool


class ChildProcesses(AsynPool):  # type: ignore[misc]  # celery has no types
    """A child that dies makes several of its files readable at once.

    Replaced at the first of them, it leaves its files' numbers to the new child, and the events that are still to be
    handled are taken for the new child's: it is then no longer watched, and ends its worker at the next lost
    connection. After a lost connection Celery looks at the file that tells of a death before all others.
    """

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        self._untrack_child_process(proc, hub)
        hub.call_soon(self.maintain_pool)

    def did_start_ok(self) -> bool:
        """Asked at the first connection to a broker, which may be long in coming.

        A child that died by then is replaced like any other; Celery would end the worker.
        """
        self.maintain_pool()
        return True


class TrialPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """The pool that workers run."""

    Pool = ChildProcesses
