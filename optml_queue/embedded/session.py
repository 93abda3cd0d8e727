"""What a client does: join the folder's server, starting it when it does not run, and leave again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from optml_queue.embedded.folder import ServerRecord, StoreFolder, lock, locked
from optml_queue.errors import OptmlError

POLL_S = 0.005
JOIN_LIMIT_S = 60.0
DOWN_LIMIT_S = 30.0


class Session:
    """A client's stay at a results folder. While it lasts, the host and its server stay.

    It ends with `close` (or the `with` block), or with the process, however that ends.
    """

    def __init__(self, folder: StoreFolder, record: ServerRecord, client_lock: int) -> None:
        self.folder = folder
        self.record = record
        self._client_lock: int | None = client_lock

    @property
    def url(self) -> str:
        """Broker and store in one: `redis://:password@127.0.0.1:port/0`."""
        return self.record.url

    @property
    def archive_url(self) -> str:
        """Where the folder's workers put results."""
        return self.record.archive_url

    def detach(self) -> None:
        """Let server and workers stay after this session, until `down` or ten minutes without work."""
        self.folder.detach()

    def close(self) -> None:
        """Leave. The last client to go takes the host with it, unless one detached."""
        if self._client_lock is not None:
            os.close(self._client_lock)
            self._client_lock = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def join(results_dir: Path, workers: int | None = None, detach: bool = False, archive_url: str = "") -> Session:
    """Join the server of `results_dir`, starting it and its workers if need be.

    `workers`: how many to start if none run (None: one per core; 0: the server alone is enough).
    `archive_url`: where the workers of a new host put results; the results folder itself by default.
    Raises InputError when the folder cannot be written or this machine has no server program.
    """
    folder = StoreFolder(results_dir)
    folder.create()
    wanted = _cores() if workers is None else workers
    archive_url = _absolute(archive_url) if archive_url else str(folder.results_dir)
    try:
        client_lock = lock(folder.clients_lock, fcntl.LOCK_SH, JOIN_LIMIT_S)
    except OSError as error:
        raise folder.unusable(error) from error
    if client_lock is None:
        raise OptmlError(f"the local server of {folder.results_dir} is ending and takes too long; try again")
    try:
        record = folder.running() or _start(folder, wanted, archive_url)
    except BaseException:
        os.close(client_lock)
        raise
    if wanted:
        folder.wish_for(wanted)
    session = Session(folder, record, client_lock)
    if detach:
        session.detach()
    return session


def up(results_dir: Path, workers: int | None = None, archive_url: str = "") -> ServerRecord:
    """Start server and workers and leave them running."""
    with join(results_dir, workers, detach=True, archive_url=archive_url) as session:
        return session.record


def down(results_dir: Path) -> bool:
    """End the host of `results_dir`, its workers and its server; whether there was one.

    Running trials go back to the queue; the data stay in the folder.
    """
    folder = StoreFolder(results_dir)
    if not folder.path.is_dir():
        return False
    try:
        record = _await_server(folder, time.monotonic() + DOWN_LIMIT_S)
    except OSError as error:
        raise folder.unusable(error) from error
    if record is None:
        return False
    # Only a server of this very record knows its password, so the process id is the host's own.
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    ended = lock(folder.host_lock, fcntl.LOCK_SH, DOWN_LIMIT_S)
    if ended is None:
        raise OptmlError(f"the local server of {folder.results_dir} (process {record.pid}) does not end")
    os.close(ended)
    return True


def status(results_dir: Path) -> ServerRecord | None:
    """How to reach the server of `results_dir`; None when it does not run."""
    return StoreFolder(results_dir).running()


def is_running(results_dir: Path) -> bool:
    """Whether the server of `results_dir` runs."""
    return status(results_dir) is not None


def _start(folder: StoreFolder, workers: int, archive_url: str) -> ServerRecord:
    deadline = time.monotonic() + JOIN_LIMIT_S
    while time.monotonic() < deadline:
        _spawn_host(folder, workers, archive_url)
        if record := _await_server(folder, deadline):
            return record
    raise OptmlError(f"the local server did not start; its log is {folder.host_log}")


def _spawn_host(folder: StoreFolder, workers: int, archive_url: str) -> None:
    """Start a host and wait until it stands or knows that it cannot. Raises what it says."""
    # -P: a file of the user's named like a library's, in the current folder, must not be imported in its place.
    command = [sys.executable, "-P", "-m", "optml_queue.embedded", str(folder.results_dir)]
    command += ["--workers", str(workers), "--archive-url", archive_url]
    log = os.open(folder.host_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # A session of its own: Ctrl-C in the terminal is for the client, which knows what to do about it.
        said = subprocess.run(  # noqa: S603 - this interpreter, this package
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            timeout=JOIN_LIMIT_S,
            check=True,
        ).stdout
    except subprocess.SubprocessError as error:
        raise OptmlError(f"the local server's host did not start; its log is {folder.host_log}") from error
    finally:
        os.close(log)
    if said:
        answer = json.loads(said)
        failure = OptmlError(answer["message"])
        failure.exit_code = answer["exit_code"]
        raise failure


def _await_server(folder: StoreFolder, deadline: float) -> ServerRecord | None:
    """The record of the server, our host's or another's; None when every host has gone."""
    while time.monotonic() < deadline:
        if record := folder.running():
            return record
        with locked(folder.host_lock, fcntl.LOCK_SH) as nobody_hosts:
            if nobody_hosts:
                return None
        time.sleep(POLL_S)
    return None


def _absolute(archive_url: str) -> str:
    """A folder's path from the root: whoever joins later may do so from another folder."""
    return archive_url if "://" in archive_url else str(Path(archive_url).absolute())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
