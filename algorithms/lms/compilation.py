"""The filter's loops at machine speed, as soon as that pays.

Importing numba and compiling takes a process about a second; without, a trial on a few thousand values takes two
milliseconds. So a process begins in plain Python, starts to compile in a thread once it has work enough, and goes over
when the compiler is done. The results are the same to the last bit either way.

What the compiler makes is not kept on disk: it would save a process a fifth of a second, and leave files of machine
code, bound to this version's module name, beside the sources or in the user's home.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from .functions import adapt, error_sums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Plain Python per multiply-add of a tap; only the order of magnitude matters.
PLAIN_TAP_S = 7e-8
# Plain Python that a process does before it begins to compile, and what a trial must still have ahead to wait for it.
START_AFTER_S = 0.25
WAIT_ABOVE_S = 1.0
SWITCH_INTERVAL_S = 0.0005

logger = logging.getLogger(__name__)

AdaptFunction = Callable[["Floats", "Floats", float, bool], None]
TestFunction = Callable[["Floats", "Floats"], tuple[float, float]]


class Compilation:
    """The compiled loops of one process, and when it is time for them. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spent_s = 0.0
        self._thread: Thread | None = None
        self._compiled: tuple[AdaptFunction, TestFunction] | None = None

    def loops(self, taps_ahead: int) -> tuple[AdaptFunction, TestFunction] | None:
        """`adapt` and `error_sums` for arrays, or None: then use the plain ones.

        `taps_ahead` is the multiply-adds that the trial has still to do; a trial that has many waits here.
        """
        if self._compiled is None:
            ahead_s = taps_ahead * PLAIN_TAP_S
            thread = self._started() if self._spent_s + ahead_s > START_AFTER_S else None
            if thread is not None and ahead_s > WAIT_ABOVE_S:
                thread.join()
        return self._compiled

    def spent(self, duration_s: float) -> None:
        """Count what plain Python took."""
        with self._lock:
            self._spent_s += duration_s

    def _started(self) -> Thread:
        with self._lock:
            if self._thread is None:
                # Not a daemon: an interpreter that ends in the midst of LLVM's work would crash.
                self._thread = Thread(target=self._compile, name="lms-compilation", daemon=False)
                self._thread.start()
            return self._thread

    def _compile(self) -> None:
        started = time.perf_counter()
        try:
            with _switching_often():
                self._compiled = _compile()
        except Exception as error:  # noqa: BLE001 - whatever ails numba, plain Python can do the work
            logger.warning("numba cannot compile the filter, so it runs in plain Python: %s", error)
        else:
            logger.debug("compiled in %.2f s", time.perf_counter() - started)


@contextmanager
def _switching_often() -> Iterator[None]:
    """Let threads change places every half millisecond.

    The compiler gives the interpreter's lock away in thousands of short calls, and a thread that computes keeps it
    for a whole interval each time: at Python's 5 ms the compiler was seen to take from ten seconds to minutes.
    """
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _compile() -> tuple[AdaptFunction, TestFunction]:
    import numba
    import numpy as np

    # Without fastmath: reordered sums would change the bits.
    jit: Any = numba.njit(nogil=True)
    compiled = jit(adapt), jit(error_sums)
    series = np.zeros(3)
    series.flags.writeable = False  # as the series of a trial are: numba compiles for just this type
    compiled[0](series, np.zeros(1), 0.0, False)
    compiled[1](series, np.zeros(1))
    return compiled
