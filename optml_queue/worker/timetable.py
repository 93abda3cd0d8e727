"""When an attempt's next checkpoint is due."""

from __future__ import annotations

import time

from optml_queue.worker.ending import Ending

RETRY_S = 1.0  # a worker that ends does not try an archive that refuses more often


class Timetable:
    """Due when `every_s` have passed since the attempt began or kept its last one, and when the worker is to end."""

    def __init__(self, every_s: float, ending: Ending) -> None:
        self._every_s = every_s
        self._ending = ending
        self._due_at = time.monotonic() + every_s
        self._not_before = float("-inf")

    def is_due(self) -> bool:
        """Asked between a driver's steps, maybe a thousand times a second."""
        now = time.monotonic()
        return now >= self._due_at or (self._ending.has_begun() and now >= self._not_before)

    def note(self) -> None:
        """One was kept, or could not be."""
        now = time.monotonic()
        self._due_at, self._not_before = now + self._every_s, now + RETRY_S
