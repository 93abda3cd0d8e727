"""The probe's verdict on notes that were left so long ago."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from optml_queue.worker import probe, turns
from optml_queue.worker.turns import BEAT, CONTROL, LOOP, SUPERVISOR, Turns

WORKER, MAIN, LONG_S = "default-abc123", 17, probe.WEDGED_S + 5
FAR_S = 10_000.0  # the machine runs for longer than the oldest note


class Clock:
    """The monotonic clock, as far back as a test wants it."""

    def __init__(self) -> None:
        self.now = FAR_S

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "monotonic", found.monotonic)
    monkeypatch.setattr(os, "getpid", lambda: MAIN)
    return found


@pytest.fixture
def notes(tmp_path: Path, clock: Clock) -> Turns:
    return Turns.enter(tmp_path)


def note_supervisor(notes: Turns, *, pid: int = MAIN, started_at: float = FAR_S, **facts: Any) -> None:
    notes.note(SUPERVISOR).turn(roles={CONTROL: (pid, started_at), WORKER: (pid, started_at)}, **facts)


def verdict(folder: Path) -> tuple[bool, str]:
    found = probe.check(folder, workers=True)
    return found.is_healthy, found.said


def test_who_left_no_note_is_gone(tmp_path: Path) -> None:
    assert verdict(tmp_path) == (False, f"gone: no worker runs here (none left a note in {tmp_path})")


def test_notes_of_a_supervisor_that_was_killed_count_for_nothing(tmp_path: Path) -> None:
    folder = turns.scope(tmp_path) / "4711"
    folder.mkdir(parents=True)
    (folder / turns.LOCK).touch()
    turns.Note(folder / SUPERVISOR).turn(roles={WORKER: (MAIN, FAR_S)})
    assert not verdict(tmp_path)[0]
    turns.sweep(tmp_path)
    assert not folder.exists()


def test_a_process_that_has_just_started_may_take_its_time(tmp_path: Path, notes: Turns, clock: Clock) -> None:
    note_supervisor(notes)
    assert verdict(tmp_path) == (True, "healthy: 1 worker and the control process")
    clock.now += LONG_S
    note_supervisor(notes)
    assert verdict(tmp_path)[0] is False


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ((WORKER, LOOP), f"{WORKER} (process {MAIN}): its loop has not turned for 95 s"),
        ((WORKER, BEAT), f"{WORKER} (process {MAIN}): its heartbeat has not turned for 95 s"),
        ((CONTROL, LOOP), f"{CONTROL} (process {MAIN}): its loop has not turned for 95 s"),
        ((SUPERVISOR, ""), f"the supervisor (process {MAIN}): it has not turned for 95 s"),
    ],
)
def test_every_loop_that_stands_still_is_told(
    missing: tuple[str, str], said: str, tmp_path: Path, notes: Turns, clock: Clock
) -> None:
    loops = [(WORKER, LOOP), (WORKER, BEAT), (CONTROL, LOOP)]
    written = {loop: notes.note(*loop) for loop in loops}
    note_supervisor(notes)
    for note in written.values():
        note.turn()
    clock.now += LONG_S
    if missing[0] != SUPERVISOR:
        note_supervisor(notes)
    for loop, note in written.items():
        if loop != missing:
            note.turn()
    assert verdict(tmp_path) == (False, f"wedged: {said}")


def test_a_worker_without_a_child_and_a_controller_without_its_archivist_are_told(
    tmp_path: Path, notes: Turns, clock: Clock
) -> None:
    note_supervisor(notes)
    notes.note(WORKER, BEAT).turn()
    notes.note(WORKER, LOOP).turn(alone_since=FAR_S - LONG_S)
    notes.note(CONTROL, LOOP).turn(lost="archivist")
    healthy, said = verdict(tmp_path)
    assert not healthy
    assert f"{WORKER} (process {MAIN}) has had no child process for 95 s" in said
    assert f"{CONTROL} (process {MAIN}) goes on without its archivist" in said


def test_one_that_ended_is_being_started_again(tmp_path: Path, notes: Turns, clock: Clock) -> None:
    note_supervisor(notes, pid=0, started_at=0.0)
    healthy, said = verdict(tmp_path)
    assert healthy
    assert f"{WORKER} ended and is being started again" in said


def test_a_supervisor_that_gives_its_trials_an_hour_of_grace_is_not_wedged(
    tmp_path: Path, notes: Turns, clock: Clock
) -> None:
    note_supervisor(notes, ends_at=FAR_S + 3600)
    clock.now += 3500
    assert verdict(tmp_path) == (True, "healthy: ending, as it was told")
    clock.now += 200
    assert not verdict(tmp_path)[0]


def test_what_is_out_of_the_ordinary_is_said_with_its_age(tmp_path: Path, notes: Turns, clock: Clock) -> None:
    note = notes.note(WORKER, LOOP)
    note.turn("looks for its broker")
    clock.now += 50
    note.turn("looks for its broker")
    note_supervisor(notes)
    assert verdict(tmp_path)[1].endswith(f"{WORKER} looks for its broker (for 50 s)")


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    notes = Turns.enter(tmp_path / "file")
    notes.note(SUPERVISOR).turn(roles={})
    assert "--check will find no worker here" in caplog.text
    gone = Turns(tmp_path / "gone").note(WORKER, LOOP)
    gone.turn()
    gone.turn()
    assert caplog.text.count("--check will not see that this process lives") == 1
