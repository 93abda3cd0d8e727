"""Waiting for a store that does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from optml_queue.errors import UnreachableError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0

Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], what: str, sleep: Callable[[float], None] = time.sleep) -> Answer:
    """Repeat `call` until the store answers, however long that takes. The calls of a trial may be repeated.

    A worker that is told to end does not wait for this: its main process ends it.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except UnreachableError as error:
            logger.warning("%s has to wait: %s", what, error)
            sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
