"""The sleeping algorithm's one function."""

from __future__ import annotations

import time


def sleep(duration_s: float) -> float:
    """Sleep, and say when that was over: seconds since the epoch, UTC."""
    time.sleep(duration_s)
    return time.time()
