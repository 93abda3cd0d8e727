"""Whether the kernel kills for want of memory: a process that it ends cannot say why itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# This container's own counter, where there is one, else the machine's.
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


class OomWatch:
    """Remembers how many there were when it was last asked."""

    def __init__(self, counters: Sequence[Path] = COUNTERS) -> None:
        self._counters = counters
        self._known = oom_kills(counters)

    def look(self) -> None:
        """Take note of those that there have been: they are explained."""
        self._known = oom_kills(self._counters)

    def has_grown(self) -> bool:
        """Whether there was one since the last look."""
        return oom_kills(self._counters) > self._known


def oom_kills(counters: Sequence[Path] = COUNTERS) -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not say."""
    for path in counters:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0
