"""One attempt in a worker's child process: from `begin` to `finish` or `release`."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from optml_queue.archive import Archive, open_archive, program
from optml_queue.archive.dataset import fetch
from optml_queue.driver import ActiveTrial, Driver, Order, algorithm_names
from optml_queue.early_stopping import stopped
from optml_queue.errors import AttemptEndedError, AttemptFailedError, OptmlError, UnreachableError
from optml_queue.runner import data_of, run_trial
from optml_queue.spec import Algorithm, Code, Spec
from optml_queue.store import Assignment, Declined, Store
from optml_queue.trial import Reason, TrialResult, digest
from optml_queue.worker.capture import Capture, end_of
from optml_queue.worker.ending import Ending
from optml_queue.worker.keeping import Keeping
from optml_queue.worker.message import TrialCall
from optml_queue.worker.patience import patiently
from optml_queue.worker.recent import Finished, RecentResults
from optml_queue.worker.timetable import Timetable
from optml_queue.worker.workspace import Workspace

if TYPE_CHECKING:
    from optml_queue.settings import Settings
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)

ASK_S = 0.5  # a driver may ask `should_stop` in its innermost loop; the store is asked this often


class Execution:
    """What a child process keeps between attempts: the store's client, specs, data (see `optml_queue.data`).

    `folder` is its place on this machine, `capture` what its trials write; None where there is no such place.
    `threads` is this worker's part of the machine's cores, `ending` what its main process says of its end.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        folder: Path | None,
        capture: Capture | None,
        threads: int = 1,
        ending: Ending | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self.ending = ending or Ending()
        self.folder = folder
        self.capture = capture
        self.threads = threads
        self._recent = RecentResults(store)
        self._spec = lru_cache(maxsize=32)(self._read_spec)
        self._prepared: set[str] = set()

    def run(self, call: TrialCall, *, token: str, worker: str) -> str:
        """Run the trial if the store says so; how it went, in a few words."""
        patiently(self._recent.watch, "the worker's first trial")
        answer = patiently(partial(self._begin, call, token, worker), f"the begin of trial {call.number}")
        if isinstance(answer, Declined):
            return f"declined: {answer.why}"
        return Attempt(self, call, token, answer).run()

    def _begin(self, call: TrialCall, token: str, worker: str) -> Assignment | Declined:
        return self._store.begin(
            call.experiment, call.number, call.generation, digest(call.params), token, worker, self._settings.lease_s
        )

    def _read_spec(self, experiment: str) -> Spec:
        spec = Spec.from_json(patiently(partial(self._store.spec, experiment), f"the spec of {experiment}"))
        return replace(spec, code=self._here(spec.code))

    def _here(self, code: Code) -> Code:
        """The code with its files on this machine. Raises AttemptFailedError where it may not run."""
        if isinstance(code, Algorithm) and code.name in algorithm_names():
            return code
        if not self._settings.allow_programs:
            raise AttemptFailedError(
                Reason.ERROR,
                f"this worker runs no code but the algorithms that come with it, and the experiment has a {code.kind}; "
                "start workers with OPTML_ALLOW_PROGRAMS=true to let it run what users submit",
            )
        if isinstance(code, Algorithm) or not code.digest:
            return code
        return code.at(program.fetch(self.archive, code.digest, self._settings.cache_dir))

    def _fetch(self, content: str) -> Path:
        return fetch(self.archive, content, self._settings.cache_dir)

    @cached_property
    def archive(self) -> Archive:
        return open_archive(self._settings.archive)

    # What an attempt needs of its process

    @property
    def store(self) -> Store:
        return self._store

    def train(self, trial: ActiveTrial, experiment: str) -> TrialResult:
        """Train; raises whatever makes the attempt fail."""
        spec = self._spec(experiment)
        if experiment not in self._prepared:
            self._prepared.add(experiment)
            prepare_beside(spec.driver)
        data = data_of(spec, self._fetch, self._settings.cache_dir)
        return run_trial(spec, spec.driver, data, trial)

    def stopped(self, experiment: str, curve: Mapping[int, float]) -> TrialResult:
        """What a trial with these reported values came to when it was told to stop."""
        spec = self._spec(experiment)
        return stopped(curve, spec.metric, spec.goal, spec.at)

    def timetable(self) -> Timetable:
        """When the checkpoints of an attempt that begins now are due."""
        return Timetable(self._settings.checkpoint_s, self.ending)

    def keep(self, finished: Finished) -> None:
        """Remember a result that the store accepted, in case it forgets it."""
        self._recent.keep(finished)


def prepare_beside(driver: Driver) -> None:
    """Let an algorithm import what is heavy while its first trial's data are loaded.

    Whatever ails it shows again, and is told, when the trial trains.
    """
    if driver.prepare is not None:
        threading.Thread(target=_prepare, args=(driver.prepare,), name=f"prepare-{driver.name}", daemon=True).start()


def _prepare(prepare: Callable[[], None]) -> None:
    with suppress(Exception):
        prepare()


class Attempt:
    """One attempt that the store agreed to."""

    def __init__(self, execution: Execution, call: TrialCall, token: str, assignment: Assignment) -> None:
        self._execution = execution
        self._store = execution.store
        self._experiment, self._number, self._token = call.experiment, call.number, token
        self._assignment = assignment
        self._last_order = Order.OK
        self._asked_at = time.monotonic()
        self._timetable = execution.timetable()

    def run(self) -> str:
        """Train and tell the store what came of it."""
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
            return self._finish(result)
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

    def _obey(self, order: Order) -> str:
        match order:
            case Order.STOP:
                # The store's curve: an earlier attempt may have come further than this one.
                read = partial(self._store.curve, self._experiment, self._number)
                curve = patiently(read, f"the curve of trial {self._number}")
                return self._finish(self._execution.stopped(self._experiment, curve))
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


@lru_cache(maxsize=1)
def execution_of(app: Application, worker: str) -> Execution:
    """This process's execution. Called in children only, so none is inherited by a fork."""
    workspace = Workspace(app.settings.cache_dir, worker, os.getppid(), os.getpid())
    try:
        folder = workspace.enter()
        capture = Capture(folder)
        capture.start()
    except OSError as error:
        # A file system that may only be read is no reason to train nothing.
        logger.warning("the output of trials is not kept: %s: %s", error.filename, error.strerror)
        return Execution(app.settings, app.store, None, None, app.threads, app.ending)
    return Execution(app.settings, app.store, folder, capture, app.threads, app.ending)
