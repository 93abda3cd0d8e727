"""What an attempt keeps in the archive: checkpoints, artifacts, output. Where they lie is said in `archive.kept`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from optml_queue.archive import Archive, kept
from optml_queue.checkpoint import decode_state, encode_state
from optml_queue.driver import Order
from optml_queue.errors import ArchiveError, OptmlError
from optml_queue.worker.capture import text_of
from optml_queue.worker.patience import patiently

logger = logging.getLogger(__name__)

CHECKPOINTS_KEPT = 2


class Keeping:
    """The part of the archive that belongs to one attempt.

    `checkpoint` is the key of the trial's last checkpoint, "" for none; `move_pointer` has the store note a new one.
    """

    def __init__(
        self,
        archive: Archive,
        experiment: str,
        number: int,
        attempt: int,
        checkpoint: str,
        move_pointer: Callable[[str], Order],
    ) -> None:
        self._archive = archive
        self._experiment, self._number, self._attempt = experiment, number, attempt
        self._move_pointer = move_pointer
        self._written = 0
        if checkpoint and not checkpoint.startswith(kept.checkpoints_folder(experiment, number) + "/"):
            # What lies beside a checkpoint is removed in time: no record may lead elsewhere.
            logger.warning("trial %d of %s starts anew: its checkpoint is not its own", number, experiment)
            checkpoint = ""
        self._last = checkpoint  # the one that counts; "": none
        self._checkpoints: list[str] = []  # written by this attempt, and left by those before it

    def checkpoint(self, state: Mapping[str, Any]) -> Order | None:
        """Keep a state; what the attempt is to do. The last two of a trial are kept, whichever attempts they are of.

        Raises TypeError for a state that cannot be kept. An archive that is away does not end the training: the answer
        is None then, and the checkpoint before stays the last one.
        """
        body = encode_state(state)
        if not self._written:
            self._checkpoints = self._left_before()
        self._written += 1
        key = kept.checkpoint_key(self._experiment, self._number, self._attempt, self._written)
        try:
            self._archive.put(key, body)
        except OptmlError as error:
            logger.warning("a checkpoint of trial %d of %s is lost: %s", self._number, self._experiment, error)
            return None
        # The pointer moves when the document is there: whatever happens in between, it names a whole one.
        order = self._move_pointer(key)
        if order is not Order.ABORT:
            # Where none counts, what lies there is nothing that this trial could go on from.
            while len(self._checkpoints) > (CHECKPOINTS_KEPT - 1 if self._last else 0):
                self._remove(self._checkpoints.pop(0))
            self._checkpoints.append(key)
            self._last = key
        return order

    def _left_before(self) -> list[str]:
        """The checkpoints that earlier attempts left, the one that counts last."""
        try:
            others = self._others()
        except OptmlError as error:
            logger.warning("earlier checkpoints stay: %s", error)
            others = []
        return [*others, self._last] if self._last else others

    def _others(self) -> list[str]:
        """The trial's checkpoints but the one that counts, in the order of their making. Raises as the archive does."""
        keys = self._archive.keys(kept.checkpoints_folder(self._experiment, self._number))
        return sorted((key for key in keys if key != self._last), key=kept.age_of)

    def _remove(self, key: str) -> None:
        try:
            self._archive.delete(key)
        except OptmlError as error:
            logger.warning("a superseded checkpoint stays: %s", error)

    def restore(self) -> dict[str, Any] | None:
        """The state of the last checkpoint; None when there is none: then the trial starts anew.

        One that is damaged or missing costs the way from the one before, or from the start, and not the trial. An
        archive that does not answer is waited for.
        """
        if not self._last:
            return None
        what = f"a checkpoint of trial {self._number} of {self._experiment}"
        for key in self._restorable():
            try:
                state = decode_state(patiently(partial(self._archive.get, key), what))
            except ArchiveError as error:
                logger.warning("%s cannot be used: %s: %s", what, key, error)
                continue
            self._last = key
            return state
        logger.warning("trial %d of %s starts anew: no checkpoint can be used", self._number, self._experiment)
        return None

    def _restorable(self) -> Iterator[str]:
        """The checkpoint that counts, then the others, the newest first: each is a state of this very trial."""
        yield self._last
        try:
            yield from reversed(patiently(self._others, f"the list of checkpoints of trial {self._number}"))
        except ArchiveError as error:
            logger.warning("earlier checkpoints of trial %d cannot be listed: %s", self._number, error)

    def artifact(self, path: Path) -> None:
        """Keep a file, or a folder's files under its name. Raises ArchiveError and UnreachableError."""
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        folder = kept.artifacts_folder(self._experiment, self._number)
        for file in files:
            self._archive.put_file(f"{folder}/{file.relative_to(path.parent).as_posix()}", file)

    def output(self, output: bytes) -> None:
        """Keep what the attempt wrote. An archive that is away must not make it fail: then the output is lost."""
        if not output:
            return
        try:
            key = kept.output_key(self._experiment, self._number, self._attempt)
            self._archive.put(key, text_of(output).encode())
        except OptmlError as error:
            logger.warning("the output of trial %d of %s is lost: %s", self._number, self._experiment, error)
