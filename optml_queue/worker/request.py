"""What a worker's main process knows of a delivered trial, and says to the store when the child cannot."""

from __future__ import annotations

import logging
import os
import re
import signal
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request

from optml_queue.errors import UnreachableError
from optml_queue.trial import Reason
from optml_queue.worker.message import TrialCall, read_message, token_of
from optml_queue.worker.workspace import Workspace

if TYPE_CHECKING:
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)
ENDED_BY = re.compile(r"signal (\d+)|exitcode (-?\d+)")


class TrialRequest(Request):  # type: ignore[misc]  # celery has no types
    """A Celery request whose child's death is told to the store at once.

    Without that, a redelivered message would meet a trial that still looks alive, be declined and acknowledged, and
    the trial would wait for its lease to run out.
    """

    app: Application
    is_settled = False  # the store was told how the attempt ended, before the child was killed

    def call(self) -> TrialCall | None:
        """The trial asked for; None for a stranger's message."""
        return read_message(self.args, self.kwargs)

    def token(self) -> str | None:
        """The attempt's token; None before a child accepted it."""
        if self.worker_pid is None:
            return None
        return token_of(self.message.delivery_tag, self.hostname, self.worker_pid)

    def workspace(self) -> Workspace:
        """The child's place on this machine."""
        return Workspace(self.app.settings.cache_dir, self.hostname, os.getpid(), self.worker_pid)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Celery ends the child after `timeout` seconds; the attempt ends with it."""
        if not soft:
            said = f"exceeded its timeout of {timeout:g} s"
            logger.warning("task %s %s", self.id, said)
            self.release(Reason.TIMEOUT, failed=True, error=said)
            self.workspace().clear()
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The child raised or died. A dead child's attempt is released; its message then has no more use."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, WorkerLostError):
            reason, said = reason_of(str(error), ran_out_of_memory=self.app.oom_watch.has_grown())
            if not self.is_settled:
                logger.warning("task %s: its process %s %s", self.id, self.worker_pid, said)
            if self.is_settled or self.release(reason, failed=True, error=said) not in ("refused", "unreachable"):
                self.acknowledge()
            self.workspace().clear()
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def release(self, reason: Reason, *, failed: bool, error: str) -> str:
        """End the attempt without a result: the trial's state now, "refused", or "unreachable".

        An unreachable store is not waited for: the lease runs out, and the message comes again. Of several trials that
        the message carried none is taken for the one that failed: each runs again, alone.
        """
        call, token = self.call(), self.token()
        if call is None or token is None:
            return "refused"
        try:
            if call.more:
                return self.app.store.interrupt(call.experiment, token, reason, call.trials, error)
            return self.app.store.release(
                call.experiment,
                call.number,
                token,
                reason,
                failed=failed,
                error=error,
                output=self.workspace().output(),
            )
        except UnreachableError as unreachable:
            logger.warning("trial %s of %s ended (%s), unsaid: %s", call.number, call.experiment, error, unreachable)
            return "unreachable"


def reason_of(message: str, *, ran_out_of_memory: bool = False) -> tuple[Reason, str]:
    """Why a child died and how to say it, from billiard's message ("… signal 11 (SIGSEGV) …").

    `ran_out_of_memory`: the kernel has lately killed a process for want of memory.
    """
    found = ENDED_BY.search(message)
    if found is None:
        return Reason.LOST, "ended"
    if found[1] is None:
        return Reason.CRASHED, f"exited with code {found[2]}"
    number = int(found[1])
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGKILL and ran_out_of_memory:
        return Reason.OUT_OF_MEMORY, "was killed by the kernel: out of memory"
    if number == signal.SIGKILL:
        return Reason.LOST, "was killed (SIGKILL): out of memory?"
    if number == signal.SIGTERM:
        return Reason.LOST, "was ended (SIGTERM)"
    return Reason.CRASHED, f"crashed ({name})"
