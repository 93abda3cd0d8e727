"""The one task: `optml.trial(experiment, number, params, generation=…)`, see publish.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import Task

from optml_queue.publish import TASK
from optml_queue.worker.execution import execution_of
from optml_queue.worker.message import read_message, token_of

if TYPE_CHECKING:
    from optml_queue.worker.application import Application

logger = logging.getLogger(__name__)


class TrialTask(Task):  # type: ignore[misc]  # celery has no types
    """Runs one attempt. What it returns is for people (Flower); results go to the store."""

    name = TASK
    Request = "optml_queue.worker.request:TrialRequest"
    app: Application
    typing = False
    resultrepr_maxsize = 256

    def run(self, *args: Any, **kwargs: Any) -> str:
        """One attempt of one trial, in a child process. Never raises for a trial's or a stranger's mistake."""
        call = read_message(args, kwargs)
        if call is None:
            logger.warning("dropped task %s: its arguments are not a trial's", self.request.id)
            return "dropped: not a trial"
        tag = self.request.properties["delivery_tag"]
        worker = self.request.hostname
        return execution_of(self.app, worker).run(call, token=token_of(tag, worker), worker=worker)
