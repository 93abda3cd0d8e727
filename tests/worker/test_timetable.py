"""When checkpoints are due, and how a child learns that its worker ends."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from optml_queue.worker import timetable
from optml_queue.worker.ending import Ending
from optml_queue.worker.timetable import RETRY_S, Timetable

FORK = """
import os
import sys
from optml_queue.worker.ending import Ending

ending, of_another_worker = Ending(), Ending()
reader, writer = os.pipe()
child = os.fork()
if not child:
    os.read(reader, 1)
    os._exit(7 if ending.has_begun() and not of_another_worker.has_begun() else 1)
ending.begin()
os.write(writer, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timetable, "time", clock)
    return clock


def test_the_time_counts_from_the_start_and_from_the_last_one(clock: Clock) -> None:
    table = Timetable(30.0, Ending())
    clock.now += 29
    assert not table.is_due()
    clock.now += 1
    assert table.is_due()
    assert table.is_due(), "until one was kept"
    table.note()
    clock.now += 29.5
    assert not table.is_due()
    clock.now += 0.5
    assert table.is_due()


def test_a_worker_that_ends_makes_it_due_at_once(clock: Clock) -> None:
    ending = Ending()
    table = Timetable(30.0, ending)
    ending.begin()
    assert table.is_due()
    # One that could not be kept is not tried again a thousand times a second.
    table.note()
    assert not table.is_due()
    clock.now += RETRY_S
    assert table.is_due()


def test_every_offer_is_taken_with_no_time_between(clock: Clock) -> None:
    table = Timetable(0.0, Ending())
    for _ in range(3):
        assert table.is_due()
        table.note()


def test_a_child_that_was_forked_before_is_told() -> None:
    # In a process of its own: one that runs tests has threads, and may not be forked.
    assert subprocess.run([sys.executable, "-c", FORK], check=False).returncode == 7
