"""The host: one process per results folder that owns the local server and its workers.

It lives as long as somebody needs it: a client (a shared lock), or a wish to stay (`detached`) while there is
work or the last work is less than ten minutes old. However its clients end, nothing of it is left over; however
it ends itself, the kernel ends its server and its workers.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

from optml_queue.embedded import crew
from optml_queue.embedded.crew import Crew
from optml_queue.embedded.folder import ServerRecord, StoreFolder, lock, try_lock
from optml_queue.embedded.provider import find_program
from optml_queue.embedded.server import LocalServer
from optml_queue.errors import OptmlError

POLL_S = 0.3
CLASSES_POLL_S = 1.0
IDLE_POLL_S = 5.0
IDLE_LIMIT_S = 600.0
LOCK_LIMIT_S = 0.3  # others hold the host's lock for an instant only to look whether it is held
LOG_LIMIT_BYTES = 1 << 20
RESTART_PAUSE_S = 1.0
LEFT = "its submitter went away"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Host:
    """One results folder's host."""

    def __init__(self, folder: StoreFolder, archive_url: str, workers: int, idle_limit_s: float) -> None:
        self._folder = folder
        self._archive_url = archive_url
        self._workers = workers
        self._idle_limit_s = idle_limit_s
        self._told_to_end = threading.Event()
        self._crews: dict[str, Crew] = {}
        self._busy_at = time.monotonic()
        self._looked_at = 0.0
        self._wanted_classes: set[str] = set()
        self._asked_for_classes_at = float("-inf")

    def run(self) -> None:
        """Serve until nobody needs the folder any more; return at once when it has a host already."""
        self._folder.create()
        host_lock = lock(self._folder.host_lock, fcntl.LOCK_EX, LOCK_LIMIT_S)
        if host_lock is None:
            return
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self._told_to_end.set())
        self._folder.forget()
        if os.fstat(2).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(2, 0)
        server = LocalServer(find_program(self._folder.path), self._folder.path, inherited=[host_lock])
        try:
            server.start()
            if server.had_data:
                _lay_to_rest(server.url)
            self._publish(server)
            self._tend(server)
        finally:
            # The record goes first: whoever comes now waits for the lock instead of for a dying server.
            self._folder.forget()
            crew.stop(self._crews.values())
            server.stop()
            _end_session()

    def _publish(self, server: LocalServer) -> None:
        version = ".".join(map(str, server.program.version))
        record = ServerRecord(
            server.port, server.password, os.getpid(), version, self._archive_url, started_at=time.time()
        )
        self._folder.write_record(record)
        # The client that waits at the other end of the pipe sees it close: the server is there.
        os.dup2(2, 1)
        os.environ["OPTML_BROKER_URL"] = os.environ["OPTML_STORE_URL"] = server.url
        os.environ["OPTML_ARCHIVE_URL"] = self._archive_url
        # Who can submit here could run their code without us.
        os.environ.setdefault("OPTML_ALLOW_PROGRAMS", "true")

    def _tend(self, server: LocalServer) -> None:
        while True:
            self._tend_workers()
            if self._told_to_end.wait(POLL_S) or self._deserted():
                return
            if server.died():
                server.restart()

    def _tend_workers(self) -> None:
        workers = self._workers or self._folder.wished_workers()
        if not workers:
            return
        for name in self._classes():
            if name not in self._crews:
                self._crews[name] = Crew(workers, name, control=not self._crews)
                self._crews[name].start()
            elif self._crews[name].died():
                time.sleep(RESTART_PAUSE_S)
                self._crews[name].start()

    def _classes(self) -> list[str]:
        """Every class of a spec has workers here: one that has none would wait for ever."""
        now = time.monotonic()
        if now - self._asked_for_classes_at >= CLASSES_POLL_S:
            self._asked_for_classes_at = now
            self._wanted_classes |= _active_classes() or set()
        return sorted({_default_class()} | self._wanted_classes)

    def _deserted(self) -> bool:
        if self._folder.detached() and not self._idle_for_long():
            return False
        # Kept, never released: a client that comes while we end waits for the lock, then starts a new host.
        return try_lock(self._folder.clients_lock, fcntl.LOCK_EX) is not None

    def _idle_for_long(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at > min(IDLE_POLL_S, self._idle_limit_s / 4):
            self._looked_at = now
            if self._has_clients() or _active_classes() != set():
                self._busy_at = now
        return now - self._busy_at > self._idle_limit_s

    def _has_clients(self) -> bool:
        descriptor = try_lock(self._folder.clients_lock, fcntl.LOCK_EX)
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def _lay_to_rest(url: str) -> None:
    """Pause what an earlier host left behind: nothing runs here that nobody asked for; `resume` does."""
    from optml_queue.broker import Broker, empty_queues
    from optml_queue.store import Store

    empty_queues(Broker(url))
    with contextlib.closing(Store.from_url(url)) as store:
        for experiment in store.active():
            store.rest(experiment, LEFT)


def _end_session() -> None:
    """End what trials started and left behind (Linux): a process of theirs may have outlived its worker."""
    from optml_queue.settings import settings
    from optml_queue.worker.workspace import sweep

    sweep(settings().cache_dir)  # trials have sessions of their own
    own = os.getpid()
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid != own and os.getsid(pid) == own:
                os.kill(pid, signal.SIGKILL)


def _default_class() -> str:
    from optml_queue.settings import settings

    return settings().resource_class


def _active_classes() -> set[str] | None:
    """The resource classes that unfinished experiments want; None when the server cannot say just now."""
    from optml_queue.settings import settings
    from optml_queue.store import Store

    with contextlib.closing(Store.from_url(settings().store, retries=0)) as store:
        try:
            return {store.experiment(id_).resource_class for id_ in store.active()}
        except OptmlError:
            return None


def main(arguments: list[str] | None = None) -> int:
    """`python -m optml_queue.embedded`: what a client starts, in a session of its own.

    Standard output says nothing when all is well, else `{"exit_code": …, "message": …}`; it closes when the
    server answers, when the folder has another host, or when the start failed.
    """
    parser = argparse.ArgumentParser(prog="optml_queue.embedded", description=__doc__)
    parser.add_argument("results_dir", type=Path)
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="worker processes (0: server only)")
    parser.add_argument("--archive-url", default="", metavar="URL", help="where results go (the results folder)")
    parser.add_argument("--idle-limit-s", type=float, default=IDLE_LIMIT_S, metavar="S")
    options = parser.parse_args(arguments)
    if os.fork():  # the client waits for this process only; the host has no parent that must reap it
        os._exit(0)
    os.setsid()
    folder = StoreFolder(options.results_dir)
    archive_url = options.archive_url or str(folder.results_dir)
    try:
        Host(folder, archive_url, options.workers, options.idle_limit_s).run()
    except OptmlError as error:
        os.write(1, json.dumps({"exit_code": error.exit_code, "message": str(error)}).encode())
        return error.exit_code
    return 0
