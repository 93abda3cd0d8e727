"""The filter's loops at machine speed, as soon as that pays.

Importing numba and compiling takes a process most of a second; without, a trial on a few thousand values takes two
milliseconds. So a process begins in plain Python, which is all that a small grid ever needs, and compiles once it has
work enough. The results are the same to the last bit either way.

It compiles in the midst of a trial, not in a thread beside it: two threads that both need the interpreter slow each
other down so much that two workers had done 180 trials after three seconds, where they now have done 970.

What the compiler makes is not kept on disk: it would save a process a fifth of a second, and leave files of machine
code, bound to this version's module name, beside the sources or in the user's home.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from .functions import adapt, error_sums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Plain Python per multiply-add of a tap; only the order of magnitude matters.
PLAIN_TAP_S = 7e-8
# Plain Python done and about to be done that makes a process compile: about half of what compiling costs.
START_AFTER_S = 0.4

logger = logging.getLogger(__name__)

AdaptFunction = Callable[["Floats", "Floats", float, bool], None]
TestFunction = Callable[["Floats", "Floats"], tuple[float, float]]


class Compilation:
    """The compiled loops of one process, and when it is time for them. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spent_s = 0.0
        self._was_tried = False
        self._compiled: tuple[AdaptFunction, TestFunction] | None = None

    def loops(self, taps_ahead: int) -> tuple[AdaptFunction, TestFunction] | None:
        """`adapt` and `error_sums` for arrays, or None: then use the plain ones.

        `taps_ahead` is the multiply-adds that the trial has still to do.
        """
        if not self._was_tried and self._spent_s + taps_ahead * PLAIN_TAP_S > START_AFTER_S:
            with self._lock:
                if not self._was_tried:
                    self._try()
        return self._compiled

    def spent(self, duration_s: float) -> None:
        """Count what plain Python took."""
        with self._lock:
            self._spent_s += duration_s

    def _try(self) -> None:
        started = time.perf_counter()
        try:
            self._compiled = _compile()
        except Exception as error:  # noqa: BLE001 - whatever ails numba, plain Python can do the work
            logger.warning("numba cannot compile the filter, so it runs in plain Python: %s", error)
        else:
            logger.debug("compiled in %.2f s", time.perf_counter() - started)
        self._was_tried = True


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
