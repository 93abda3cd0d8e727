"""Celery's view of results: the store's records, read only. Nothing is written twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states
from celery.backends.base import BaseBackend

from optml_queue.publish import TrialMessage
from optml_queue.trial import Trial, TrialState

if TYPE_CHECKING:
    from optml_queue.worker.application import Application

STATES = {
    TrialState.QUEUED: states.PENDING,
    TrialState.RUNNING: states.STARTED,
    TrialState.COMPLETE: states.SUCCESS,
    TrialState.DIVERGED: states.SUCCESS,
    TrialState.STOPPED_EARLY: states.SUCCESS,
    TrialState.FAILED: states.FAILURE,
    TrialState.CANCELLED: states.REVOKED,
}


class TrialFailedError(Exception):
    """What `AsyncResult.get()` raises for a trial that failed or was cancelled."""


class StoreBackend(BaseBackend):  # type: ignore[misc]  # celery has no types
    """Answers `AsyncResult("<experiment>.<number>.<generation>")` from the trial's record."""

    app: Application

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        message = TrialMessage.parse(task_id)
        trials = self.app.store.trials(message.experiment, [message.number]) if message else []
        return meta(task_id, trials[0] if trials else None)

    def store_result(self, _task_id: str, result: Any, _state: str, *_: Any, **__: Any) -> Any:
        """Do nothing: `finish` and `release` have told the store already."""
        return result

    def as_uri(self, *_: Any, **__: Any) -> str:
        """What Celery's banner shows."""
        return "the store"


def meta(task_id: str, trial: Trial | None) -> dict[str, Any]:
    """A trial as Celery's result document."""
    document: dict[str, Any] = {"task_id": task_id, "status": states.PENDING, "result": None, "traceback": None}
    if trial is None:
        return document
    document["status"] = STATES[trial.state]
    if document["status"] == states.SUCCESS:
        document["result"] = {"state": str(trial.state), "metrics": dict(trial.metrics)}
    elif document["status"] in (states.FAILURE, states.REVOKED):
        document["result"] = TrialFailedError(trial.error or trial.reason or str(trial.state))
    return document
