"""What a worker's child process runs: the attempts of the trials that its messages carry."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from optml_queue.archive import Archive, open_archive, program
from optml_queue.archive.dataset import fetch
from optml_queue.driver import ActiveTrial, Driver, algorithm_names
from optml_queue.early_stopping import stopped
from optml_queue.errors import AttemptFailedError
from optml_queue.runner import data_of, run_trial
from optml_queue.spec import Algorithm, Code, Spec
from optml_queue.store import Assignment, Declined, Store
from optml_queue.trial import Reason, TrialResult, digest
from optml_queue.worker.attempt import Attempt
from optml_queue.worker.batch import Batch
from optml_queue.worker.capture import Capture
from optml_queue.worker.ending import Ending
from optml_queue.worker.message import TrialCall
from optml_queue.worker.patience import patiently
from optml_queue.worker.recent import Finished, RecentResults
from optml_queue.worker.timetable import Timetable
from optml_queue.worker.workspace import Workspace

if TYPE_CHECKING:
    from optml_queue.settings import Settings
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)


class Execution:
    """What a child process keeps between attempts: the store's client, specs, data (see `optml_queue.data`).

    `folder` is its place on this machine, `capture` what its trials write; None where there is no such place.
    `threads` is this worker's part of the machine's cores, `ending` what its main process says of its end.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        folder: Path | None,
        capture: Capture | None,
        threads: int = 1,
        ending: Ending | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self.ending = ending or Ending()
        self.folder = folder
        self.capture = capture
        self.threads = threads
        self._recent = RecentResults(store)
        self._spec = lru_cache(maxsize=32)(self._read_spec)
        self._prepared: set[str] = set()

    def run(self, call: TrialCall, *, token: str, worker: str) -> str:
        """Run the trial, or the trials, if the store says so; how it went, in a few words."""
        patiently(self._recent.watch, "the worker's first trial")
        if call.more:
            return Batch(self, call, token, worker, self._settings.lease_s).run()
        answer = patiently(partial(self._begin, call, token, worker), f"the begin of trial {call.number}")
        if isinstance(answer, Declined):
            return f"declined: {answer.why}"
        return Attempt(self, call.experiment, call.number, token, answer).run()

    def _begin(self, call: TrialCall, token: str, worker: str) -> Assignment | Declined:
        return self._store.begin(
            call.experiment, call.number, call.generation, digest(call.params), token, worker, self._settings.lease_s
        )

    def _read_spec(self, experiment: str) -> Spec:
        spec = Spec.from_json(patiently(partial(self._store.spec, experiment), f"the spec of {experiment}"))
        return replace(spec, code=self._here(spec.code))

    def _here(self, code: Code) -> Code:
        """The code with its files on this machine. Raises AttemptFailedError where it may not run."""
        if isinstance(code, Algorithm) and code.name in algorithm_names():
            return code
        if not self._settings.allow_programs:
            raise AttemptFailedError(
                Reason.ERROR,
                f"this worker runs no code but the algorithms that come with it, and the experiment has a {code.kind}; "
                "start workers with OPTML_ALLOW_PROGRAMS=true to let it run what users submit",
            )
        if isinstance(code, Algorithm) or not code.digest:
            return code
        return code.at(program.fetch(self.archive, code.digest, self._settings.cache_dir))

    def _fetch(self, content: str) -> Path:
        return fetch(self.archive, content, self._settings.cache_dir)

    @cached_property
    def archive(self) -> Archive:
        return open_archive(self._settings.archive)

    # What an attempt needs of its process

    @property
    def store(self) -> Store:
        return self._store

    def train(self, trial: ActiveTrial, experiment: str) -> TrialResult:
        """Train; raises whatever makes the attempt fail."""
        spec = self._spec(experiment)
        if experiment not in self._prepared:
            self._prepared.add(experiment)
            prepare_beside(spec.driver)
        data = data_of(spec, self._fetch, self._settings.cache_dir)
        return run_trial(spec, spec.driver, data, trial)

    def stopped(self, experiment: str, curve: Mapping[int, float]) -> TrialResult:
        """What a trial with these reported values came to when it was told to stop."""
        spec = self._spec(experiment)
        return stopped(curve, spec.metric, spec.goal, spec.at)

    def timetable(self) -> Timetable:
        """When the checkpoints of an attempt that begins now are due."""
        return Timetable(self._settings.checkpoint_s, self.ending)

    def keep(self, *finished: Finished) -> None:
        """Remember results that the store accepted, in case it forgets them."""
        self._recent.keep(*finished)


def prepare_beside(driver: Driver) -> None:
    """Let an algorithm import what is heavy while its first trial's data are loaded.

    Whatever ails it shows again, and is told, when the trial trains.
    """
    if driver.prepare is not None:
        threading.Thread(target=_prepare, args=(driver.prepare,), name=f"prepare-{driver.name}", daemon=True).start()


def _prepare(prepare: Callable[[], None]) -> None:
    with suppress(Exception):
        prepare()


@lru_cache(maxsize=1)
def execution_of(app: Application, worker: str) -> Execution:
    """This process's execution. Called in children only, so none is inherited by a fork."""
    workspace = Workspace(app.settings.cache_dir, worker, os.getppid(), os.getpid())
    try:
        folder = workspace.enter()
        capture = Capture(folder)
        capture.start()
    except OSError as error:
        # A file system that may only be read is no reason to train nothing.
        logger.warning("the output of trials is not kept: %s: %s", error.filename, error.strerror)
        return Execution(app.settings, app.store, None, None, app.threads, app.ending)
    return Execution(app.settings, app.store, folder, capture, app.threads, app.ending)
