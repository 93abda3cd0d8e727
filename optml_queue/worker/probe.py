"""The probe: whether the workers of this machine or container are wedged, told from the notes that their loops leave.

A worker that trains for hours is healthy, and so is one whose broker or store is away: restarting it would not help.
One whose loops stand still is not, and nor is one that has no child process to train in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optml_queue.worker.turns import BEAT, CONTROL, LOOP, SUPERVISOR, file_name, living, read

# Longer than any wait of a loop for a server that takes connections and never answers.
WEDGED_S = 90.0


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, and why, in one line."""

    is_healthy: bool
    said: str


def check(cache_dir: Path, *, workers: bool) -> Health:
    """Judge every supervisor that runs here and has workers, or a control process where `workers` is False."""
    now = time.monotonic()
    crews = [Crew(folder, now) for folder in living(cache_dir)]
    judged = [crew for crew in crews if crew.has(workers=workers)]
    if not judged:
        wanted = "worker" if workers else "control process"
        return Health(False, f"gone: no {wanted} runs here (none left a note in {cache_dir})")
    faults = [fault for crew in judged for fault in crew.faults(workers=workers)]
    if faults:
        return Health(False, f"wedged: {'; '.join(faults)}")
    return Health(True, f"healthy: {'; '.join(remark for crew in judged for remark in crew.remarks(workers=workers))}")


class Crew:
    """A supervisor and its processes, as their notes show them."""

    def __init__(self, folder: Path, now: float) -> None:
        self._folder = folder
        self._now = now
        self._supervisor = read(folder / SUPERVISOR)
        # name → (process id or 0, when it was started)
        self._roles: dict[str, tuple[int, float]] = {
            name: (int(pid), float(started_at)) for name, (pid, started_at) in self._supervisor.get("roles", {}).items()
        }

    def has(self, *, workers: bool) -> bool:
        """Whether it has what is asked for. One that has not noted anything yet is about to."""
        return any((name != CONTROL) == workers for name in self._roles) or not self._supervisor

    def faults(self, *, workers: bool) -> list[str]:
        """What stands still. With `workers`, in the control process too, if it has one."""
        if not self._supervisor or self._is_ending():
            return []
        found = self._standstill("the supervisor", self._supervisor["pid"], "it", self._supervisor["turned_at"])
        for name in self._judged(workers):
            found += self._faults_of(name)
        return found

    def remarks(self, *, workers: bool) -> list[str]:
        """How many there are, and what somebody who looks would want to know."""
        if not self._supervisor:
            return ["starting"]
        if self._is_ending():
            return ["ending, as it was told"]
        names = self._judged(workers)
        count = sum(name != CONTROL for name in names)
        parts = ([f"{count} worker{'s'[: count != 1]}"] if count else []) + ["the control process"] * (CONTROL in names)
        return [" and ".join(parts), *(remark for name in names for remark in self._remarks_of(name))]

    def _judged(self, workers: bool) -> list[str]:
        return [name for name in self._roles if workers or name == CONTROL]

    def _is_ending(self) -> bool:
        return bool(self._now < self._supervisor.get("ends_at", 0.0))

    def _faults_of(self, name: str) -> list[str]:
        pid, started_at = self._roles[name]
        if not pid:
            return []  # it ended, and is started again after a pause
        loop = self._loop(name, pid)
        found = self._standstill(name, pid, "its loop", loop.get("turned_at", started_at))
        if name != CONTROL:
            beat = self._noted(name, BEAT, pid)
            found += self._standstill(name, pid, "its heartbeat", beat.get("turned_at", started_at))
        if (alone_s := self._since(loop, "alone_since")) > WEDGED_S:
            found.append(f"{name} (process {pid}) has had no child process for {alone_s:.0f} s")
        if loop.get("lost"):
            found.append(f"{name} (process {pid}) goes on without its {loop['lost']}")
        return found

    def _remarks_of(self, name: str) -> list[str]:
        pid, _ = self._roles[name]
        if not pid:
            return [f"{name} ended and is being started again"]
        loop = self._loop(name, pid)
        beat = self._noted(name, BEAT, pid)
        return [
            f"{name} {doing} (for {self._since(note, 'since'):.0f} s)"
            for note in (loop, beat)
            if (doing := note.get("doing"))
        ]

    def _loop(self, name: str, pid: int) -> dict[str, Any]:
        return self._noted(name, LOOP, pid)

    def _noted(self, name: str, loop: str, pid: int) -> dict[str, Any]:
        note = read(self._folder / file_name(name, loop))
        return note if note.get("pid") == pid else {}  # else the one before it noted this

    def _since(self, note: dict[str, Any], field: str) -> float:
        moment = note.get(field)
        return 0.0 if moment is None else max(0.0, self._now - moment)

    def _standstill(self, name: str, pid: int, loop: str, turned_at: float) -> list[str]:
        age_s = self._now - turned_at
        return [f"{name} (process {pid}): {loop} has not turned for {age_s:.0f} s"] if age_s > WEDGED_S else []
