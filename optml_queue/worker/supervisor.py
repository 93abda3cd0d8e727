"""The supervisor: N workers and the control process under one parent that restarts what ends.

Everything heavy is imported here, before the fork: the children share those pages, and start in a fraction of the
time. No thread runs and no socket is open in this process.
"""

from __future__ import annotations

import gc
import importlib
import logging
import math
import os
import secrets
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import billiard
from celery import bootsteps
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from celery.worker import state

from optml_queue.broker import queue_name
from optml_queue.errors import UnreachableError
from optml_queue.lifeline import die_with_parent
from optml_queue.settings import Settings, settings
from optml_queue.worker.application import Application
from optml_queue.worker.control import Control
from optml_queue.worker.heartbeat import Heartbeat, classes_of
from optml_queue.worker.log_line import LogLine
from optml_queue.worker.pool import TrialPool
from optml_queue.worker.turns import BEAT, CONTROL, LOOP, SUPERVISOR, TURN_S, Turns
from optml_queue.worker.workspace import clear_all

logger = logging.getLogger(__name__)

PRELOADED = (
    "celery.apps.worker",
    "celery.app.amqp",
    "celery.app.events",
    "celery.app.log",
    "celery.concurrency.prefork",
    "celery.worker.consumer",
    "celery.worker.control",
    "celery.worker.loops",
    "celery.worker.strategy",
    "numpy",
    "optml_queue.worker.backend",
    "optml_queue.worker.execution",
    "optml_queue.worker.request",
)
# Numerical libraries read these when they are imported. Without, each worker would start a thread for every core.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
STEADY_S = 30.0  # a process that lived this long starts again without a pause
KILL_MARGIN_S = 3.0  # after the grace, for the hand-back and the goodbye
LOG_FORMAT = "%(asctime)s %(levelname)-7s {name}: %(message)s"


@dataclass(slots=True)
class Role:
    """One child: what it runs, and how its restarts went."""

    name: str
    run: Callable[[], int]
    pid: int = 0
    started_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    due_at: float = field(default=float("-inf"))

    def note_end(self, now: float) -> None:
        """The child ended: when to start the next one."""
        self.pid = 0
        if now - self.started_at >= STEADY_S:
            self.pause_s = FIRST_PAUSE_S
        self.due_at = now + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


def supervise(
    processes: int,
    resource_classes: Sequence[str] = (),
    *,
    control: bool = True,
    log_path: Path | None = None,
    level: int = logging.INFO,
) -> int:
    """Run `processes` workers of the resource classes (default: the settings' one) until SIGTERM, SIGINT or SIGHUP.

    With `control`, the control process too; `processes=0` is a controller alone. Returns the exit code: 0 when
    everything ended in good order, 1 when something had to be killed. Raises SettingsError.
    """
    configuration = settings()
    app = Application(configuration)
    classes = tuple(resource_classes) or (configuration.resource_class,)
    queues = [queue_name(name) for name in classes]
    if log_path is not None:
        _write_to(log_path)
    app.threads = _share_cores(processes)
    app.turns = Turns.enter(configuration.cache_dir)
    for module in PRELOADED:
        importlib.import_module(module)
    importlib.import_module(str(app.conf.broker_transport).partition(":")[0])
    # What lives now lives on: the collections that Celery asks for before each fork then have little to look at,
    # and do not copy shared pages.
    gc.freeze()
    roles = [
        Role(name, lambda name=name: _run_worker(app, name, queues))  # type: ignore[misc]
        for name in (f"{classes[0]}-{secrets.token_hex(3)}" for _ in range(processes))
    ]
    if control:
        roles.insert(0, Role(CONTROL, lambda: _run_control(app)))
    try:
        return Supervisor(roles, configuration, level, app.turns).run()
    finally:
        app.turns.leave()


def _share_cores(processes: int) -> int:
    """Each worker's part of the cores, at least one. Libraries are told, unless the environment says otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // max(1, processes))
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(share))
    return share


class Supervisor:
    """The parent's loop."""

    def __init__(self, roles: list[Role], configuration: Settings, level: int, turns: Turns) -> None:
        self._roles = roles
        self._turns_note = turns.note(SUPERVISOR)
        self._grace_s = configuration.grace_s
        self._level = level
        self._stop_signals = 0
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Start, restart, and at last stop the children."""
        configure_logging("supervisor", self._level)
        handled = (*STOPPING, signal.SIGCHLD)
        before = {number: signal.signal(number, self._note) for number in handled}
        previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        try:
            while not self._stop_signals:
                self._start_due()
                self._note_turn()
                self._wait(min(TURN_S, self._until_next_start()))
                self._reap()
            return self._stop()
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._reader)
            os.close(self._writer)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stop_signals += 1

    def _wait(self, limit_s: float) -> None:
        if select.select([self._reader], [], [], limit_s)[0]:
            os.read(self._reader, 4096)

    def _start_due(self) -> None:
        now = time.monotonic()
        for role in self._roles:
            if not role.pid and role.due_at <= now:
                role.started_at = now
                role.pid = self._fork(role)

    def _until_next_start(self) -> float:
        due = [role.due_at for role in self._roles if not role.pid]
        return max(0.0, min(due) - time.monotonic()) if due else math.inf

    def _note_turn(self, ends_at: float = 0.0) -> None:
        self._turns_note.turn(roles={role.name: (role.pid, role.started_at) for role in self._roles}, ends_at=ends_at)

    def _fork(self, role: Role) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._become_child(parent, role.name)
            code = role.run()
        except BaseException:
            # The child of a fork must never return into its parent's code.
            logger.exception("%s failed", role.name)
        finally:
            logging.shutdown()
            os._exit(code)

    def _become_child(self, parent: int, name: str) -> None:
        signal.set_wakeup_fd(-1)
        for number in (*STOPPING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
        # A group of its own: Ctrl-C in a terminal goes to the supervisor, which ends the others in good order.
        os.setpgid(0, 0)
        die_with_parent(parent)
        # Celery's remarks on stopping go to stdout, which may be somebody's JSON.
        os.dup2(2, 1)
        configure_logging(name, self._level)

    def _reap(self) -> None:
        for role in self._roles:
            if not role.pid:
                continue
            pid, status = os.waitpid(role.pid, os.WNOHANG)
            if pid:
                role.note_end(time.monotonic())
                if not self._stop_signals:
                    logger.warning("%s ended (%s)", role.name, _said(status))

    def _stop(self) -> int:
        """Ask the children to end; kill those that do not in time, or at the second signal."""
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + KILL_MARGIN_S
        self._note_turn(deadline + KILL_MARGIN_S)
        asked = self._stop_signals
        while self._alive() and time.monotonic() < deadline:
            self._wait(max(0.0, deadline - time.monotonic()))
            self._reap()
            if self._stop_signals > asked:
                asked = self._stop_signals
                self._signal_all(signal.SIGTERM)
                deadline = min(deadline, time.monotonic() + KILL_MARGIN_S)
        if not self._alive():
            return 0
        self._signal_all(signal.SIGKILL)
        for role in self._alive():
            os.waitpid(role.pid, 0)
        return 1

    def _alive(self) -> list[Role]:
        return [role for role in self._roles if role.pid]

    def _signal_all(self, number: signal.Signals) -> None:
        for role in self._alive():
            os.kill(role.pid, number)


def _said(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _run_worker(app: Application, name: str, queues: Sequence[str]) -> int:
    app.loop_note, app.beat_note = app.turns.note(name, LOOP), app.turns.note(name, BEAT)
    # As root Celery warns of pickled messages, which these workers do not read.
    warnings.simplefilter("ignore", SecurityWarning)
    setup_logging.connect(_keep_logging)
    app.steps["worker"].add(LeaveWhenIdle)
    worker = app.Worker(
        hostname=f"{name}@{socket.gethostname()}",
        queues=",".join(queues),
        pool=TrialPool,
        concurrency=1,
        optimization="fair",
        prefetch_multiplier=1,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
        loglevel=logging.getLogger().level,
    )
    worker.start()
    clear_all(app.settings.cache_dir, worker.hostname)
    say_goodbye(worker)
    return int(worker.exitcode or 0)


def _keep_logging(**_: Any) -> None:
    """Its presence keeps Celery from configuring the loggers its own way."""


class LeaveWhenIdle(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Ends an idle worker at once: Celery's pool takes 1.5 s to join a child that does nothing."""

    requires = (Heartbeat,)

    def stop(self, worker: Any) -> None:
        """The consumer has stopped. With no message in hand there is nothing to wait for."""
        # `_ready`: acknowledgements wait there for the loop's next turn.
        if state.reserved_requests or state.active_requests or worker.hub._ready:
            return
        say_goodbye(worker)
        for child in billiard.active_children():
            os.kill(child.pid, signal.SIGKILL)
        clear_all(worker.app.settings.cache_dir, worker.hostname)
        logging.shutdown()
        os._exit(0)


def say_goodbye(worker: Any) -> None:
    """Have the store forget the worker now, not when its last beat grows old."""
    try:
        for resource_class in classes_of(worker.app.amqp.queues.consume_from):
            worker.app.store.worker_gone(worker.hostname, resource_class)
    except UnreachableError as error:
        logger.info("could not say goodbye: %s", error)


def _run_control(app: Application) -> int:
    app.loop_note = app.turns.note(CONTROL, LOOP)
    Control(app).run()
    return 0


def configure_logging(name: str, level: int) -> None:
    """One line an event on stderr: when, how bad, who, what."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine(LOG_FORMAT.format(name=name.replace("%", "%%"))))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Each of these says at INFO, for every message, what the store's records say.
    for chatty in ("celery.worker.strategy", "celery.app.trace", "kombu", "botocore", "boto3", "urllib3", "matplotlib"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    logging.getLogger("py.warnings").addFilter(_is_news)
    # A child's end is said by worker.request in one line; these say it again with a traceback of the pool's.
    for repeating in ("celery.worker.request", "multiprocessing"):
        logging.getLogger(repeating).setLevel(logging.CRITICAL)


def _is_news(record: logging.LogRecord) -> bool:
    # That trials go on when the connection is lost is on purpose (see broker.celery_config).
    return "worker_cancel_long_running_tasks_on_connection_loss" not in record.getMessage()


def _write_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
