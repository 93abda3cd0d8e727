"""What trials write to stdout and stderr, at the level of file descriptors: of C code and of processes they start too.

It goes to a file in the worker's place on this machine, so that it outlives a killed process. The file is bounded: its
beginning stays, and of the rest the end.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from pathlib import Path

OUTPUT = "output"  # the beginning, then what is new
KEPT = "output.kept"  # the end of what was cut out between the two
HEAD_BYTES = 64 << 10
TAIL_BYTES = 192 << 10
LIMIT_BYTES = 1 << 20  # more than this is cut
STALLED_BYTES = 16 << 20  # more than this tells that the process cannot cut, and the worker's main process does
LOOK_S = 0.1
END_BYTES = 8 << 10
LEFT_OUT = b"\n[... some output is left out ...]\n"


class Capture:
    """Stdout and stderr of this process, from `start` on for good."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._output = -1
        self._running = threading.Event()

    def start(self) -> None:
        """Point both descriptors at the file. The process's own log goes where stderr went before."""
        self._output = os.open(self._folder / OUTPUT, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        before = open(os.dup(2), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115, PTH123 - for good
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                handler.setStream(before)
        self._flush()
        for descriptor in (1, 2):
            os.dup2(self._output, descriptor)
        # Line by line: what a process that is killed holds in its buffers is lost.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        faulthandler.enable(self._output)  # a crash in C code then says which Python called it
        threading.Thread(target=self._watch, name="capture", daemon=True).start()

    def begin(self) -> None:
        """A new attempt: forget what the one before wrote."""
        if os.fstat(self._output).st_size:
            os.ftruncate(self._output, 0)
            (self._folder / KEPT).unlink(missing_ok=True)
        self._running.set()

    def end(self) -> bytes:
        """The attempt is over: all that was kept of its output, at most 256 KiB and a line."""
        self._running.clear()
        self._flush()
        return read(self._folder) if os.fstat(self._output).st_size else b""

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def _watch(self) -> None:
        while True:
            self._running.wait()
            threading.Event().wait(LOOK_S)
            cut(self._folder, LIMIT_BYTES)


def cut(folder: Path, limit_bytes: int) -> None:
    """Cut the middle out of an output longer than the limit. Whoever writes goes on at its new end."""
    try:
        descriptor = os.open(folder / OUTPUT, os.O_RDWR)
    except OSError:
        return
    try:
        size = os.fstat(descriptor).st_size
        if size > limit_bytes:
            (folder / KEPT).write_bytes(os.pread(descriptor, TAIL_BYTES, size - TAIL_BYTES))
            os.ftruncate(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def read(folder: Path) -> bytes:
    """The beginning of an output, 64 KiB, and its end, 192 KiB; b"" when there is none."""
    try:
        descriptor = os.open(folder / OUTPUT, os.O_RDONLY)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, HEAD_BYTES, 0)
        start = max(HEAD_BYTES, size - TAIL_BYTES)
        tail = os.pread(descriptor, TAIL_BYTES, start)
    finally:
        os.close(descriptor)
    kept = _kept(folder)
    is_whole = start == HEAD_BYTES and not kept
    return head + tail if is_whole else head + LEFT_OUT + (kept + tail)[-TAIL_BYTES:]


def end_of(output: bytes) -> str:
    """The last 8 KiB of an output as text, beginning with a line."""
    return text_of(output[-END_BYTES:].partition(b"\n")[2] if len(output) > END_BYTES else output)


def text_of(output: bytes) -> str:
    """An output as text: what is not UTF-8 is replaced, and what a terminal would obey is left out."""
    text = output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _kept(folder: Path) -> bytes:
    try:
        return (folder / KEPT).read_bytes()
    except OSError:
        return b""
