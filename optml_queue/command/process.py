"""One run of a command: a process group of its own, that ends with the trial however that ends."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from optml_queue.errors import AttemptFailedError
from optml_queue.lifeline import die_with_parent
from optml_queue.trial import Reason

CHUNK_BYTES = 65_536
LOOK_S = 0.1  # how often somebody who waits for output is asked whether to go on
TERM_S = 2.0  # what a command has to end in order; the worker waits 5 s for its trial
LAST_WORDS_BYTES = 8_192
_OUT_OF_MEMORY = re.compile(
    rb"MemoryError|OutOfMemory|std::bad_alloc|cannot allocate (?:memory|vector)|out of memory", re.IGNORECASE
)


class Process:
    """A running command; leaving the `with` block ends its whole group.

    It writes to pipes: this process reads them, so that it sees the metric, and passes all on to its own stderr.
    Raises AttemptFailedError when it cannot be started.
    """

    def __init__(self, argv: Sequence[str], folder: Path, environment: Mapping[str, str], title: str) -> None:
        self._title = title
        self._last_words = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - what the user's spec says; no shell is involved
                argv,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise AttemptFailedError(Reason.ERROR, f"{title}: {_start_problem(argv[0], error)}") from error

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._ends_within(TERM_S)
        self._signal(signal.SIGKILL)  # what it started may still run, though it itself has ended
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _ends_within(self, limit_s: float) -> bool:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def output(self, look: Callable[[], None]) -> Iterator[bytes]:
        """What comes on stdout until the command ends. `look` is called in between; what it raises ends all."""
        with selectors.DefaultSelector() as selector:
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                # A process that it left behind may hold the pipes open: they count as long as there is something.
                has_ended = self._process.poll() is not None
                ready = selector.select(0.0 if has_ended else LOOK_S)
                for key, _ in ready:
                    chunk = os.read(key.fd, CHUNK_BYTES)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif self._passed_on(chunk, is_stdout=key.fileobj is self._process.stdout):
                        yield chunk
                if has_ended and not ready:
                    break
                look()
        while not self._ends_within(LOOK_S):  # it closed its output and goes on
            look()

    def _passed_on(self, chunk: bytes, *, is_stdout: bool) -> bool:
        _write(2, chunk)
        if not is_stdout:
            self._last_words = (self._last_words + chunk)[-LAST_WORDS_BYTES:]
        return is_stdout

    def check_end(self) -> None:
        """Raises AttemptFailedError unless the command ended with exit code 0."""
        code = self._process.wait()
        if code:
            reason, said = self._ending(code)
            raise AttemptFailedError(reason, f"{self._title}: {said}")

    def _ending(self, code: int) -> tuple[Reason, str]:
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):  # a shell says it the second way
            return Reason.OUT_OF_MEMORY, "was killed (SIGKILL): out of memory?"
        if code < 0:
            return Reason.CRASHED, f"crashed ({_signal_name(-code)})"
        lines = [line for line in self._last_words.decode(errors="replace").splitlines() if line.strip()]
        said = f"exited with code {code}" + (f": {lines[-1].strip()[:400]}" if lines else "")
        return (Reason.OUT_OF_MEMORY if _OUT_OF_MEMORY.search(self._last_words) else Reason.EXIT_CODE), said


def _start_problem(program: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no program {program!r} here: install it where the workers run, or ship it with files:"
    if isinstance(error, PermissionError):
        return f"{program!r} may not be run: is it executable?"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{program!r} cannot be started: {reason}"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _write(descriptor: int, chunk: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads: the trial goes on
        while chunk:
            chunk = chunk[os.write(descriptor, chunk) :]
