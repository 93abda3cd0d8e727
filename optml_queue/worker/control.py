"""The control process: advances experiments, ends attempts whose lease ran out, has results archived.

A plain loop, no Celery consumer. Any number of them may run at once; one that dies is missed for a second.
"""

from __future__ import annotations

import logging
import signal
import time
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING

from optml_queue.archive import Archive, open_archive
from optml_queue.errors import NotFoundError, OptmlError, UnreachableError
from optml_queue.experiments import advance
from optml_queue.publish import Publisher
from optml_queue.worker.archivist import Archivist
from optml_queue.worker.dead_letters import DeadLetters
from optml_queue.worker.suggesters import Suggesters

if TYPE_CHECKING:
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)

TICK_S = 1.0
PAUSE_S = 0.5  # before an unreachable store or broker is tried again


class _StopWaiting(BaseException):
    """Raised by the signal handler while the loop only waits."""


class Control:
    """The loop."""

    def __init__(self, app: Application) -> None:
        self._store = app.store
        self._publisher = Publisher(app)
        self._prices = app.settings.prices_per_hour
        self._archive_url = app.settings.archive
        self._archivist = Archivist(app.store, self._archive_url)
        self._suggesters = Suggesters(app.store, lambda: self._archive)
        self._note = app.loop_note
        self._dead_letters = DeadLetters(app.store, app.settings.broker) if app.settings.broker.is_sqs else None
        self._is_stopping = False
        self._is_waiting = False
        self._ticked_at = float("-inf")
        self._server_run_id = ""
        self._unreachable_said = ""

    def run(self) -> None:
        """Go on until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._archivist.start()
        if self._dead_letters is not None:
            self._dead_letters.start()
        while not self._is_stopping:
            self._note_turn()
            try:
                self._step()
                self._unreachable_said = ""
            except _StopWaiting:
                break
            except UnreachableError as error:
                self._say_unreachable(error)
                time.sleep(PAUSE_S)
            except Exception:
                # Nothing that goes wrong may end the process that everything waits for.
                logger.exception("control failed; going on")
                time.sleep(PAUSE_S)
        self._publisher.close()

    def _step(self) -> None:
        """Tick when it is time, else advance the experiment that wants it, or wait for one."""
        rest_s = self._ticked_at + TICK_S - time.monotonic()
        if rest_s <= 0:
            self._ticked_at = time.monotonic()
            self._tick()
        elif experiment := self._wait(rest_s):
            self._advance(experiment)

    def _wait(self, limit_s: float) -> str | None:
        self._is_waiting = True
        try:
            return None if self._is_stopping else self._store.wanted(limit_s)
        finally:
            self._is_waiting = False

    def _tick(self) -> None:
        self._heal()
        for experiment, number in self._store.expire():
            logger.warning("trial %d of %s lost its worker", number, experiment)
        for experiment in self._store.active():
            if self._is_stopping:
                return
            self._note_turn()
            self._advance(experiment)

    def _heal(self) -> None:
        """A server that was started anew may have been cut off, and have forgotten its last second.

        Its file must not keep half of a script's effects, and what is archived is compared with what it knows now.
        """
        run_id = self._store.server_run_id()
        if run_id != self._server_run_id:
            self._store.rewrite_log()
            self._archivist.recall()
            self._server_run_id = run_id

    def _advance(self, experiment: str) -> None:
        try:
            advance(
                self._store,
                self._publisher.publish,
                experiment,
                self._prices,
                archive=self._archive,
                ask=self._suggesters.ask,
            )
        except UnreachableError:
            raise
        except NotFoundError:
            return  # removed meanwhile
        except OptmlError as error:
            logger.error("%s cannot be advanced: %s", experiment, error)
        except Exception:
            # One experiment's fault must not stop the others.
            logger.exception("%s cannot be advanced", experiment)
        self._archivist.watch([experiment])

    @cached_property
    def _archive(self) -> Archive:
        return open_archive(self._archive_url)

    def _note_turn(self) -> None:
        self._note.turn(
            "waits for its store or broker" if self._unreachable_said else "",
            lost="" if self._archivist.is_alive() else "archivist",
        )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        if self._is_waiting:
            self._is_waiting = False
            raise _StopWaiting

    def _say_unreachable(self, error: UnreachableError) -> None:
        if str(error) != self._unreachable_said:
            logger.warning("%s; trying again", error)
        self._unreachable_said = str(error)
