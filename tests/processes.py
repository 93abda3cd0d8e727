"""What a test wants to know of processes that it did not start itself (Linux: out of /proc)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """The processes that `pid` is the parent of."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def members_of(session_id: int) -> list[int]:
    """The living processes of a session; an embedded server's host starts one, and all it starts stay in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we looked
        if int(session) == session_id and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_until(true: Callable[[], bool], limit_s: float = 10.0, what: str = "it") -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(0.01)
