"""The claims to archive experiments: of all control processes one writes; when it dies, another does.

Who writes without it, because its lease ended unnoticed, does the same work twice and no harm.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from optml_queue.errors import UnreachableError
from optml_queue.store import Store

logger = logging.getLogger(__name__)

LEASE_S = 5.0  # looks, which renew it, come every second


class Claims:
    """The claims of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def take(self, experiment: str) -> bool:
        """Take a claim, or keep it for a while longer. False while another process has it."""
        return self._store.hold(experiment, self._holder, LEASE_S)

    def let_go(self, experiment: str) -> None:
        """Give a claim back; an unreachable store learns of it when the lease ends."""
        try:
            self._store.let_go(experiment, self._holder)
        except UnreachableError as error:
            logger.info("the claim to archive %s runs out: %s", experiment, error)

    @contextmanager
    def kept(self, experiment: str) -> Iterator[None]:
        """Keep a claim for as long as the block runs: what is written may be large, and the archive slow."""
        is_done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(experiment, is_done), name="claim", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            is_done.set()
            keeper.join()

    def _keep(self, experiment: str, is_done: threading.Event) -> None:
        while not is_done.wait(LEASE_S / 3):
            try:
                self.take(experiment)
            except UnreachableError as error:
                logger.info("the claim to archive %s is not renewed: %s", experiment, error)
