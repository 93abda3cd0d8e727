"""Turns: every loop of a supervisor's processes notes that it still turns, for whoever asks from outside.

A note is a small file in the cache folder that one thread overwrites in place, so that a full disk changes nothing.
Times are those of the monotonic clock, which all processes of a machine share and nobody sets.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optml_queue.worker.workspace import is_free, matching

logger = logging.getLogger(__name__)

FOLDER = "turns"
SUPERVISOR, CONTROL, LOOP, BEAT = "supervisor", "control", "loop", "beat"
LOCK = "lock"
TURN_S = 1.0  # how often a loop notes that it turns


class Note:
    """One loop's file. Without a path, and where the file cannot be written, nothing is noted."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._descriptor = -1
        self._length = 0
        self._doing = ""
        self._since = 0.0

    def turn(self, doing: str = "", **facts: Any) -> None:
        """Note this moment, what the loop does if that is out of the ordinary, and whatever else JSON can say."""
        if self._path is None:
            return
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._since = doing, now
        noted = {"pid": os.getpid(), "turned_at": now, "doing": doing, "since": self._since, **facts}
        text = json.dumps(noted)
        self._length = max(self._length, len(text))
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, text.ljust(self._length).encode(), 0)
        except OSError as error:
            logger.warning("--check will not see that this process lives: %s: %s", self._path, error.strerror)
            self._path = None


class Turns:
    """The notes of one supervisor and its children. `Turns()` notes nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @classmethod
    def enter(cls, cache_dir: Path) -> Turns:
        """The notes of this process, the supervisor; what ended supervisors left behind is removed."""
        folder = scope(cache_dir) / str(os.getpid())
        try:
            sweep(cache_dir)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            # Kept open, never closed: the kernel gives the lock back when the process, and what it forked, has ended.
            fcntl.flock(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
        except OSError as error:
            logger.warning("--check will find no worker here: %s: %s", error.filename, error.strerror)
            return cls()
        return cls(folder)

    def note(self, name: str, loop: str = "") -> Note:
        """The note of a process, or of one of its loops."""
        return Note(self._folder and self._folder / file_name(name, loop))

    def leave(self) -> None:
        """The supervisor ends."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def file_name(name: str, loop: str = "") -> str:
    """The file of a process's note, or of one of its loops."""
    return f"{name}.{loop}" if loop else name


def scope(cache_dir: Path) -> Path:
    """Where supervisors that this process can see leave their notes: containers may share the cache folder, and each
    counts its processes from one."""
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # no Linux, no containers
        space = 0
    return cache_dir / FOLDER / f"{socket.gethostname()}-{space}"


def living(cache_dir: Path) -> Iterator[Path]:
    """The folders of the supervisors that run here."""
    return (folder for folder in sorted(matching(scope(cache_dir), "[0-9]*")) if is_free(folder / LOCK) is False)


def sweep(cache_dir: Path) -> None:
    """Remove the notes of supervisors that are gone, here and in containers that shared the folder."""
    for folder in matching(cache_dir / FOLDER, "*/[0-9]*"):
        if (folder / LOCK).exists() and is_free(folder / LOCK) is not False:
            shutil.rmtree(folder, ignore_errors=True)


def read(path: Path) -> dict[str, Any]:
    """What was noted last; empty when nothing was."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
