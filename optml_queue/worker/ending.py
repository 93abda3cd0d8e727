"""Whether a worker was told to end, as its child knows it.

One byte of memory that a worker's main process and its children share. A signal to the child would cut short whatever
system call a driver is in; a file would need a place, and a system call for every look; the store may be away just when
workers are told to end. The byte is there in any case, is written within a signal's handler, and is read in no time.
"""

from __future__ import annotations

import mmap


class Ending:
    """Made by a worker's main process before it forks its children; one of its own for each worker."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """The worker ends: a trial that can be cut off here is to be. Takes no lock."""
        self._byte[0] = 1

    def has_begun(self) -> bool:
        """Whether the worker ends."""
        return self._byte[0] == 1
