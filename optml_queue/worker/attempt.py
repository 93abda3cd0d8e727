"""One attempt in a worker's child process: from the store's consent to `finish` or `release`."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, assert_never

from optml_queue.driver import ActiveTrial, Order
from optml_queue.errors import AttemptEndedError, AttemptFailedError, OptmlError, UnreachableError
from optml_queue.store import Assignment
from optml_queue.trial import Reason, TrialResult
from optml_queue.worker.capture import end_of
from optml_queue.worker.keeping import Keeping
from optml_queue.worker.patience import patiently
from optml_queue.worker.recent import Finished

if TYPE_CHECKING:
    from optml_queue.worker.execution import Execution

logger = logging.getLogger(__name__)

ASK_S = 0.5  # a driver may ask `should_stop` in its innermost loop; the store is asked this often


class Attempt:
    """One attempt that the store agreed to."""

    def __init__(self, execution: Execution, experiment: str, number: int, token: str, assignment: Assignment) -> None:
        self._execution = execution
        self._store = execution.store
        self._experiment, self._number, self._token = experiment, number, token
        self._assignment = assignment
        self._last_order = Order.OK
        self._asked_at = time.monotonic()
        self._timetable = execution.timetable()

    def run(self) -> str:
        """Train and tell the store what came of it; how it went, in a few words."""
        outcome = self.train()
        return self._finish(outcome) if isinstance(outcome, TrialResult) else outcome

    def train(self) -> TrialResult | str:
        """Train. The result, which the store is still to be told; else what came of the attempt, which it was."""
        assignment = self._assignment
        trial = ActiveTrial(
            number=self._number,
            params=assignment.params,
            seed=assignment.seed,
            attempt=assignment.attempt,
            on_report=self._report,
            order=self._order,
            on_log=self._log,
            on_checkpoint=self._keep_checkpoint,
            checkpoint_is_due=self._timetable.is_due,
            on_restore=self._restore,
            on_artifact=lambda path: self._keeping.artifact(path),
            scratch_root=self._execution.folder,
            threads=self._execution.threads,
        )
        if self._execution.capture:
            self._execution.capture.begin()
        try:
            result = self._execution.train(trial, self._experiment)
            self._keep_output()
            return result
        except AttemptEndedError as ended:
            return self._obey(Order(ended.order))
        except AttemptFailedError as failed:
            return self._fail(Reason(failed.reason), failed.error, failed.traceback)
        except OptmlError as error:
            # Before the driver ran: a program, an algorithm or data that cannot be had here.
            return self._fail(Reason.ERROR, str(error), "")
        except MemoryError:
            return self._fail(Reason.OUT_OF_MEMORY, "out of memory", "")
        except Exception as error:  # noqa: BLE001 — told to the store
            return self._fail(Reason.ERROR, f"{type(error).__name__}: {error}", traceback.format_exc())

    def _finish(self, result: TrialResult) -> str:
        answer = patiently(
            partial(self._store.finish, self._experiment, self._number, self._token, result),
            f"the result of trial {self._number}",
        )
        if answer == "accepted":
            self._execution.keep(Finished(self._experiment, self._number, self._token, result))
        shown = " ".join(f"{name}={value:.6g}" for name, value in result.metrics.items())
        return f"{result.state} ({answer}) {shown}" if answer != "accepted" else f"{result.state} {shown}"

    def _fail(self, reason: Reason, error: str, trace: str) -> str:
        output = self._keep_output()
        logger.info("trial %d of %s: %s: %s", self._number, self._experiment, reason, error)
        return self._release(reason, failed=True, error=error, trace=trace, output=output)

    def _obey(self, order: Order) -> TrialResult | str:
        match order:
            case Order.STOP:
                # The store's curve: an earlier attempt may have come further than this one.
                read = partial(self._store.curve, self._experiment, self._number)
                curve = patiently(read, f"the curve of trial {self._number}")
                return self._execution.stopped(self._experiment, curve)
            case Order.CANCEL:
                return self._release(Reason.CANCELLED, failed=False)
            case Order.RELEASE | Order.OK:
                said = "the worker was told to end" if self._execution.ending.has_begun() else ""
                return self._release(Reason.RELEASED, failed=False, error=said)
            case Order.ABORT:
                return "aborted: the trial is no longer this worker's"
        assert_never(order)

    def _release(
        self,
        reason: Reason,
        *,
        failed: bool,
        error: str = "",
        trace: str = "",
        output: str = "",
    ) -> str:
        release = partial(
            self._store.release,
            self._experiment,
            self._number,
            self._token,
            reason,
            failed=failed,
            error=error,
            traceback=trace,
            output=output,
        )
        state = patiently(release, f"the end of trial {self._number}")
        return f"{reason}: now {state}; {error}" if error else f"{reason}: now {state}"

    # What it keeps

    @cached_property
    def _keeping(self) -> Keeping:
        return Keeping(
            self._execution.archive,
            self._experiment,
            self._number,
            self._assignment.attempt,
            self._assignment.checkpoint,
            self._move_pointer,
        )

    def _move_pointer(self, key: str) -> Order:
        move = partial(self._store.checkpoint, self._experiment, self._number, self._token, key)
        return patiently(move, f"a checkpoint of trial {self._number}")

    def _keep_checkpoint(self, state: Mapping[str, Any]) -> Order:
        order = self._keeping.checkpoint(state)
        self._timetable.note()
        if order is Order.OK and self._execution.ending.has_begun():
            return Order.RELEASE  # another worker's attempt goes on from here
        return order or Order.OK

    def _restore(self) -> dict[str, Any] | None:
        # Most attempts are first ones: for them no archive is opened.
        is_first = not self._assignment.checkpoint and "_keeping" not in self.__dict__
        return None if is_first else self._keeping.restore()

    def _keep_output(self) -> str:
        """Keep what the attempt wrote, if it did; the end of it."""
        output = self._execution.capture.end() if self._execution.capture else b""
        if not output:
            return ""
        self._keeping.output(output)
        return end_of(output)

    # What the driver calls

    def _report(self, step: int, value: float) -> Order:
        report = partial(self._store.report, self._experiment, self._number, self._token, step, value)
        return patiently(report, f"a report of trial {self._number}")

    def _order(self) -> Order:
        now = time.monotonic()
        if self._last_order is Order.OK and now - self._asked_at >= ASK_S:
            self._asked_at = now
            ask = partial(self._store.beat, self._experiment, self._number, self._token, 0.0)
            self._last_order = patiently(ask, f"trial {self._number}")
        return self._last_order

    def _log(self, message: str) -> None:
        try:
            self._store.log(self._experiment, self._number, message)
        except UnreachableError as error:
            logger.warning("a log line of trial %d was lost: %s", self._number, error)
