"""Several short trials that one message carried, run one after another in a worker's child process.

Each is a trial of its own, with its own attempt, state and result. What would take longer than the trials themselves
is done for a few of them at a time: one call of the store takes the results of those that ran and begins the next.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from optml_queue.store import Assignment, Carried, Ran
from optml_queue.trial import Reason, TrialResult
from optml_queue.worker.attempt import Attempt
from optml_queue.worker.message import TrialCall
from optml_queue.worker.patience import patiently
from optml_queue.worker.recent import Finished

if TYPE_CHECKING:
    from optml_queue.worker.execution import Execution

TURN_S = 0.01  # so long before it runs, at most, a trial begins, and so long its result waits
TURN_MAX = 100  # trials that begin together: what one call of the store stays short with


class Batch:
    """The trials of one message."""

    def __init__(self, execution: Execution, call: TrialCall, token: str, worker: str, lease_s: float) -> None:
        self._execution = execution
        self._store = execution.store
        self._experiment, self._trials, self._token = call.experiment, call.trials, token
        self._worker, self._lease_s = worker, lease_s
        self._outcomes: Counter[str] = Counter()
        self._ran: list[tuple[int, TrialResult, float, float]] = []  # number, result, when it began and ended

    def run(self) -> str:
        """Run all that the store says may run; how it went, in a few words."""
        waiting, at_once = iter(self._trials), 1
        while not self._execution.ending.has_begun():
            next_ = tuple(islice(waiting, at_once))
            assignments = self._turn(next_)
            if not next_:
                return self._said()
            began_at = time.monotonic()
            self._run_all(assignments)
            each_s = (time.monotonic() - began_at) / max(1, len(assignments))
            at_once = max(1, min(TURN_MAX, 2 * at_once, int(TURN_S / max(each_s, 1e-9))))
        return self._hand_back()

    def _turn(self, next_: Carried) -> dict[int, Assignment]:
        """Tell the results there are, and begin the next trials."""
        if not (self._ran or next_):
            return {}
        now = time.monotonic()
        ran = [Ran(number, result, now - began, now - ended) for number, result, began, ended in self._ran]
        tell = partial(self._store.turn, self._experiment, self._token, self._worker, self._lease_s, ran, next_)
        answers, assignments = patiently(tell, f"the results of trials of {self._experiment}")
        told = [
            (Finished(self._experiment, n, self._token, result), answer)
            for (n, result, _, _), answer in zip(self._ran, answers, strict=True)
        ]
        self._execution.keep(*(each for each, answer in told if answer == "accepted"))
        self._outcomes.update(each.result.state if answer == "accepted" else answer for each, answer in told)
        self._ran.clear()
        self._outcomes["declined"] += len(next_) - len(assignments)
        return assignments

    def _run_all(self, assignments: dict[int, Assignment]) -> None:
        for number, assignment in assignments.items():
            if self._execution.ending.has_begun():
                return
            began_at = time.monotonic()
            attempt = Attempt(self._execution, self._experiment, number, self._token, assignment)
            outcome = attempt.train()
            if isinstance(outcome, TrialResult):
                self._ran.append((number, outcome, began_at, time.monotonic()))
            else:
                self._outcomes[outcome.partition(":")[0]] += 1

    def _hand_back(self) -> str:
        """The worker is told to end: what did not run goes back to the queue."""
        self._turn(())
        said = "the worker was told to end"
        back = partial(self._store.interrupt, self._experiment, self._token, Reason.RELEASED, self._trials, said)
        patiently(back, f"trials of {self._experiment} that are handed back")
        return f"{self._said()}; handed back: {said}"

    def _said(self) -> str:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes.most_common() if count)
        return f"{len(self._trials)} trials: {counted}"
