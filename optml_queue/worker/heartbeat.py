"""The heartbeat: the main process beats for its child.

A thread in the child would stall whenever C code holds the interpreter; one in the main process does not. It extends
the attempt's lease and, on SQS, the message's visibility, carries orders back, and hands the trial back when the
worker is told to end and the grace is over.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import threading
import time
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import billiard
from celery import bootsteps
from celery.signals import worker_shutting_down
from celery.worker import state

from optml_queue.broker import SqsVisibility
from optml_queue.driver import Order
from optml_queue.errors import UnreachableError
from optml_queue.store import Store
from optml_queue.trial import Reason
from optml_queue.worker.capture import STALLED_BYTES, cut
from optml_queue.worker.ending import Ending
from optml_queue.worker.message import TrialCall
from optml_queue.worker.request import TrialRequest
from optml_queue.worker.turns import TURN_S
from optml_queue.worker.workspace import sweep

if TYPE_CHECKING:
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)

OBEY_LIMIT_S = 5.0  # how long a trial may take to obey before its process is killed
CHECK_S = 0.1  # how often a stopping worker looks at the clock
ENDINGS = {Order.CANCEL: Reason.CANCELLED, Order.RELEASE: Reason.RELEASED, Order.ABORT: Reason.LOST}


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Starts the thread after the pool has forked, and tells it when the worker begins to stop."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._pulse: Pulse | None = None
        self._signals = 0
        # Steps are made before any of them starts: the children that the pool forks share this one.
        self._ending = worker.app.ending = Ending()
        self._alone_since: float | None = None

    def start(self, worker: Any) -> None:
        """Begin to beat."""
        self._pulse = Pulse(worker.app, worker.hostname)
        self._pulse.start()
        worker_shutting_down.connect(self._heed)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Called again whenever the loop was reset, after a lost connection."""
        hub.call_repeatedly(TURN_S, self._turn, worker.app)

    def _turn(self, app: Application) -> None:
        if self._pulse is not None:
            self._pulse.note_turn()
        is_alone = not billiard.active_children()
        self._alone_since = (self._alone_since or time.monotonic()) if is_alone else None
        app.loop_note.turn(alone_since=self._alone_since)

    def stop(self, worker: Any) -> None:
        """Give the running trial its grace. The thread goes on: the pool is joined after this."""
        if self._pulse is not None:
            self._pulse.end_within(worker.app.settings.grace_s)

    def _heed(self, **_: Any) -> None:
        """A signal to stop: a trial that keeps checkpoints ends at the next one. The second takes the grace away."""
        self._signals += 1
        self._ending.begin()
        if self._signals > 1 and self._pulse is not None:
            self._pulse.end_now()

    def terminate(self, _worker: Any) -> None:
        """Hand the running trial back now."""
        if self._pulse is not None:
            self._pulse.end_within(0.0)


class Pulse(threading.Thread):
    """The thread that beats."""

    def __init__(self, app: Application, worker: str) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._app = app
        self._settings = app.settings
        # A client of its own, without retries: a beat that comes late is worth less than the next one, which goes over
        # a new connection, and comes before the lease has run out.
        self._store = Store.from_url(app.settings.store, retries=0, timeout_s=app.settings.lease_s / 4)
        self._visibility = SqsVisibility(app.settings.broker) if app.settings.broker.is_sqs else None
        self._worker = worker
        self._classes = classes_of(app.amqp.queues.consume_from)
        self._facts = _facts()
        self._started_at = time.time()
        self._idle_since = time.monotonic()
        self._accepted = 0  # messages, up to the last beat
        self._ends_at: float | None = None
        self._told: dict[str, float] = {}  # request id → when its attempt was first told to end
        self._turned_at = float("-inf")
        self._wake = threading.Event()
        self._said_unreachable = False

    def end_within(self, grace_s: float) -> None:
        """The worker stops: trials still running after `grace_s` are handed back and their process killed.

        Called again, it can only shorten the wait.
        """
        self._end_by(time.monotonic() + grace_s)
        self._wake.set()

    def end_now(self) -> None:
        """Like `end_within(0)`, for a signal's handler: it takes no lock. A stopping thread sees it soon."""
        self._end_by(time.monotonic())

    def note_turn(self) -> None:
        """The event loop turns: what children answered up to now is known."""
        self._turned_at = time.monotonic()

    def _end_by(self, ends_at: float) -> None:
        self._ends_at = ends_at if self._ends_at is None else min(self._ends_at, ends_at)

    def run(self) -> None:
        """Beat until the process ends."""
        try:
            sweep(self._settings.cache_dir)
        except Exception:
            logger.exception("what other workers left behind stays")
        next_beat = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                if now >= next_beat:
                    next_beat = now + self._settings.beat_s
                    self._beat_once()
                if self._ends_at is not None and now >= self._ends_at:
                    self._hand_back()
            except Exception:
                # A beat that fails in a way nobody thought of must not be the last one.
                logger.exception("heartbeat failed; trying again")
            self._app.beat_note.turn("waits for its store or broker" if self._said_unreachable else "")
            pause_s = max(0.0, next_beat - time.monotonic())
            self._wake.wait(pause_s if self._ends_at is None else min(pause_s, CHECK_S))
            self._wake.clear()

    def _beat_once(self) -> None:
        running = running_trials()
        self._told = {request.id: self._told[request.id] for request, _, _ in running if request.id in self._told}
        try:
            for request, call, token in running:
                numbers = (number for number, _ in call.trials)
                self._obey(request, self._store.beat_all(call.experiment, numbers, token, self._settings.lease_s))
            for request, _, _ in running:
                cut(request.workspace().folder, STALLED_BYTES)
            if self._visibility is not None:
                self._visibility.extend([request.message for request, _, _ in running])
            self._app.oom_watch.look()
            self._tell_of_worker(running)
            self._said_unreachable = False
        except UnreachableError as error:
            if not self._said_unreachable:
                logger.warning("heartbeat: %s; trying again", error)
            self._said_unreachable = True

    def _obey(self, request: TrialRequest, order: Order) -> None:
        """Kill a child that was told to end and does not.

        `abort` is also what a child hears that has just finished. Its answer may lie unread for long: the event loop
        stands still while the connection to the broker is lost.
        """
        if order not in ENDINGS:
            self._told.pop(request.id, None)
            return
        since = self._turned_at if order is Order.ABORT else time.monotonic()
        if since - self._told.setdefault(request.id, time.monotonic()) >= OBEY_LIMIT_S and not request.is_settled:
            self._end(request, ENDINGS[order], f"told to end ({order}) and did not; killed")

    def _hand_back(self) -> None:
        for request, _, _ in running_trials():
            if not request.is_settled:
                self._end(request, Reason.RELEASED, "handed back: the worker was told to end")

    def _end(self, request: TrialRequest, reason: Reason, said: str) -> None:
        # The store first: the main process learns of the death and would call it a failure.
        request.is_settled = request.release(reason, failed=False, error=said) != "unreachable"
        logger.warning("task %s: %s", request.id, said)
        with suppress(ProcessLookupError):
            os.kill(request.worker_pid, signal.SIGKILL)
        request.workspace().clear()

    def _tell_of_worker(self, running: list[tuple[TrialRequest, TrialCall, str]]) -> None:
        facts: dict[str, Any] = {**self._facts, "started_at": self._started_at}
        accepted = state.all_total_count[0]
        if running or accepted > self._accepted:  # many a short trial begins and ends between two beats
            self._idle_since = time.monotonic()
        self._accepted = accepted
        if running:
            request, call, _ = running[0]
            facts |= {"experiment": call.experiment, "number": call.number, "since": request.time_start}
        elif self._ends_at is None:
            facts["idle_s"] = time.monotonic() - self._idle_since
        for resource_class in self._classes:
            self._store.worker_beat(self._worker, {**facts, "class": resource_class}, self._settings.lease_s)


def running_trials() -> list[tuple[TrialRequest, TrialCall, str]]:
    """The trials that children of this process work on, each with its call and token."""
    found = []
    for request in _active_requests():
        if isinstance(request, TrialRequest):
            call, token = request.call(), request.token()
            if call is not None and token is not None:
                found.append((request, call, token))
    return found


def _active_requests() -> list[Any]:
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # the main thread changed the set meanwhile
            continue


def classes_of(queues: Any) -> list[str]:
    """The resource classes behind the names of our queues."""
    return [str(name).removeprefix("optml-") for name in queues]


def _facts() -> dict[str, Any]:
    packages = ("optml-queue", "celery", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:  # run from a checkout that is not installed
            continue
    return {"host": socket.gethostname(), "pid": os.getpid(), "versions": versions}
