"""The local workers of one resource class, under a supervisor that is forked from the host."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterable, Sequence

from optml_queue.lifeline import die_with_parent

PATIENCE_S, HASTE_S = 3.0, 3.0  # together they leave nothing of a killed client after 10 s
POLL_S = 0.01
# A supervisor's second SIGTERM makes it kill what does not end at once. Its children die with it.
STOP_STEPS = ((signal.SIGTERM, PATIENCE_S), (signal.SIGTERM, HASTE_S), (signal.SIGKILL, HASTE_S))


class Crew:
    """N workers of a resource class and, where `control` says so, the control process."""

    def __init__(self, workers: int, resource_class: str, *, control: bool) -> None:
        self._workers = workers
        self._resource_class = resource_class
        self._control = control
        self._pid = 0

    def start(self) -> None:
        """Fork the supervisor; it starts the workers."""
        # Imported before the fork, so that another crew, or this one once more, starts at once.
        from optml_queue.worker import supervisor

        host = os.getpid()
        self._pid = os.fork()
        if self._pid:
            return
        code = 1
        try:
            os.setpgid(0, 0)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(host)
            code = supervisor.supervise(self._workers, [self._resource_class], control=self._control)
        except BaseException:  # noqa: BLE001 - the child of a fork must never return into its parent's code
            traceback.print_exc()
        finally:
            os._exit(code)

    def died(self) -> bool:
        """Whether the supervisor has ended."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
        return not self._pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        if self._pid:
            os.kill(self._pid, number)


def stop(crews: Iterable[Crew]) -> None:
    """Ask the workers to finish or hand back what they do; then ask for haste; then end what is left."""
    left: Sequence[Crew] = list(crews)
    for number, limit_s in STOP_STEPS:
        for crew in left:
            crew.signal(number)
        deadline = time.monotonic() + limit_s
        while (left := [crew for crew in left if not crew.died()]) and time.monotonic() < deadline:
            time.sleep(POLL_S)
