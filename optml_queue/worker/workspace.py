"""The place of a worker's child process on this machine: what its trials write, their temporary files.

It lies in the cache folder under the names of the worker and of the process, so that the worker's main process finds
it, and tidies up, when the child was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from glob import iglob
from pathlib import Path

from optml_queue.worker.capture import end_of, read

logger = logging.getLogger(__name__)

FOLDER = "workers"
LOCK = "lock"


class Workspace:
    """The folder of the child `pid` of a worker's main process. Making the object makes nothing."""

    def __init__(self, cache_dir: Path, worker: str, main_pid: int, pid: int) -> None:
        self.pid = pid
        self.folder = cache_dir / FOLDER / worker.replace("/", "_") / f"{main_pid}-{pid}"

    def enter(self) -> Path:
        """Make the folder this process's own, locked until it ends, and the process the leader of a session.

        All that a trial starts belongs to the session, and can be ended with it. Raises OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Kept open, never closed: the kernel gives the lock back when the process ends.
        fcntl.flock(os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
        with contextlib.suppress(PermissionError):  # it leads one already
            os.setsid()
        return self.folder

    def output(self) -> str:
        """The end of what the running attempt has written."""
        return end_of(read(self.folder))

    def clear(self) -> None:
        """End the process and all that its trials started, and remove the folder."""
        end_session(self.pid)
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process of the worker is there
            self.folder.parent.rmdir()


def clear_all(cache_dir: Path, worker: str) -> None:
    """Clear the folders of all children of this process, the main process of a worker."""
    main_pid = os.getpid()
    for folder in matching(Workspace(cache_dir, worker, main_pid, 0).folder.parent, f"{main_pid}-*"):
        Workspace(cache_dir, worker, main_pid, int(folder.name.rpartition("-")[2])).clear()


def sweep(cache_dir: Path) -> None:
    """Clear the folders of processes whose workers died with them, so that nobody else will."""
    for folder in matching(cache_dir / FOLDER, "*/*-*"):
        main_pid, _, pid = folder.name.partition("-")
        if main_pid.isdecimal() and pid.isdecimal() and not _is_alive(int(main_pid)) and is_free(folder / LOCK):
            logger.info("clearing what %s, process %s, left behind", folder.parent.name, pid)
            Workspace(cache_dir, folder.parent.name, int(main_pid), int(pid)).clear()


def matching(folder: Path, pattern: str) -> Iterator[Path]:
    """What matches `pattern` below `folder`. Others may remove it meanwhile: `Path.glob` would raise then."""
    return (folder / name for name in iglob(pattern, root_dir=folder))  # noqa: PTH207 -- see above


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def is_free(lock: Path) -> bool | None:
    """Whether nobody holds a lock; None where it cannot be opened.

    Containers may share a folder, and count their processes each on its own: a lock holds for all of them.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def end_session(session: int) -> None:
    """Kill all processes of a session but this one's. Where there is no /proc, those of its first group."""
    if session == os.getsid(0):
        return
    processes = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    if not processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
