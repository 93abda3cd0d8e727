"""TensorFlow in this process: imported once, quietly and without Keras, and set to a number of threads.

It is imported where trials run and nowhere else: never in a process that forks, and not by loading the algorithm.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from optml_queue.errors import DriverError

# What TensorFlow's libraries print while they are loaded, before they have read how much they may print.
_CHATTER = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I\d{4} \d\d:\d\d:.*\] ")
# The module of Keras that TensorFlow imports at its own import's end, if it can.
_KERAS = "keras.src.optimizers"
_STDERR = 2

_lock = Lock()

logger = logging.getLogger(__name__)


def load() -> Any:
    """The module `tensorflow`; the first call takes two seconds. Raises DriverError when it cannot be imported."""
    with _lock:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            if "tensorflow" not in sys.modules:
                with _without_keras(), _hushed():
                    import tensorflow
            else:
                import tensorflow
        except ImportError as error:
            raise DriverError(_missing(error)) from error
        return tensorflow


def start(threads: int) -> None:
    """Have TensorFlow ready to compute with so many threads. Raises DriverError when it cannot be imported.

    The batches of a network come one after another, so threads within an operation are all that helps.
    """
    threading = load().config.threading
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # something else in this process has computed before
        logger.warning("TensorFlow is at work in this process already; its threads stay as they are")


def _missing(error: ImportError) -> str:
    if error.name == "tensorflow":
        return "the algorithm ann needs TensorFlow, which is not installed here: pip install 'optml-queue[tensorflow]'"
    return f"TensorFlow, which the algorithm ann needs, cannot be loaded: {error}; install optml-queue[tensorflow] anew"


@contextmanager
def _without_keras() -> Iterator[None]:
    """Keep TensorFlow from importing Keras: a third of the time and 100 MB, for nothing that is used here.

    Whoever wants it in this process imports it later: `tensorflow.keras` is there.
    """
    if "keras" in sys.modules:
        yield
        return
    sys.modules[_KERAS] = None  # type: ignore[assignment]  # how Python is told that a module cannot be imported
    try:
        yield
    finally:
        del sys.modules[_KERAS]


@contextmanager
def _hushed() -> Iterator[None]:
    """Take the libraries' chatter out of what is written to stderr; anything else comes out when the block ends."""
    with tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        stderr = os.dup(_STDERR)
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            caught.seek(0)
            os.write(_STDERR, b"".join(line for line in caught if not _CHATTER.match(line)))
