"""A child's place on the machine: locked while it lives, cleared with all that it started when it is gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optml_queue.worker.memory import OomWatch, oom_kills
from optml_queue.worker.workspace import Workspace, clear_all, matching, sweep

CHILD = """
import os, subprocess, sys, time
from pathlib import Path
from optml_queue.worker.workspace import Workspace
cache, worker, main = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3] or os.getppid())
folder = Workspace(cache, worker, main, os.getpid()).enter()
started = subprocess.Popen(["sleep", "60"], process_group=0)
(folder / "started").write_text(str(started.pid))
(folder / "ready").touch()
time.sleep(60)
"""


def start(cache: Path, main_pid: int | str = "") -> tuple[subprocess.Popen[bytes], Workspace, int]:
    """A child that entered its workspace and started a process; the process too."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(cache), "w1@host", str(main_pid)])
    workspace = Workspace(cache, "w1@host", int(main_pid or os.getpid()), child.pid)
    until((workspace.folder / "ready").exists)
    return child, workspace, int((workspace.folder / "started").read_text())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    path = Path(f"/proc/{pid}/cmdline")
    try:
        return not path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def dead_pid() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def test_clearing_ends_the_session_and_removes_the_folder(tmp_path: Path) -> None:
    child, workspace, started = start(tmp_path)
    other, kept, still = start(tmp_path)
    workspace.clear()
    assert child.wait(10) == -signal.SIGKILL
    until(lambda: is_gone(started))
    assert not workspace.folder.exists()
    assert kept.folder.exists()
    assert not is_gone(still)
    clear_all(tmp_path, "w1@host")
    other.wait(10)
    until(lambda: is_gone(still))
    assert list((tmp_path / "workers").iterdir()) == []


def test_the_dead_are_swept_and_the_living_left_alone(tmp_path: Path) -> None:
    living, home, spared = start(tmp_path)
    main_pid = dead_pid()
    locked, orphaned_home, _ = start(tmp_path, main_pid)
    dead, abandoned, left = start(tmp_path, main_pid)
    dead.kill()
    dead.wait()
    sweep(tmp_path)
    until(lambda: is_gone(left))
    assert not abandoned.folder.exists()
    assert orphaned_home.folder.exists(), "its process lives and holds the lock"
    assert home.folder.exists()
    assert not is_gone(spared)
    for workspace, child in ((home, living), (orphaned_home, locked)):
        workspace.clear()
        child.wait(10)


def test_a_place_that_was_never_entered_is_cleared_without_harm(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "w1@host", os.getpid(), dead_pid())
    assert workspace.output() == ""
    workspace.clear()
    sweep(tmp_path / "absent")


def test_the_kernels_counter_is_read(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 3\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills([tmp_path / "absent", events]) == 2
    watch = OomWatch([events])
    assert not watch.has_grown()
    events.write_text("oom_kill 3\n")
    assert watch.has_grown()
    watch.look()
    assert not watch.has_grown()
    assert oom_kills([tmp_path / "absent"]) == 0


def test_folders_that_vanish_while_one_looks_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name / "1-2").mkdir(parents=True)
    scandir = os.scandir

    def look(path: Any) -> Any:
        # Another worker sweeps at the same time, and is quicker.
        if str(path).endswith("a"):
            shutil.rmtree(tmp_path / "a", ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    assert list(matching(tmp_path, "*/*-*")) == [tmp_path / "b" / "1-2"]
