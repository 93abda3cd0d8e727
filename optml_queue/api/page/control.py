"""Forms that change an experiment's course: pause, resume, stop, cancel, retry, remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from optml_queue.api.installation import Here, Installation
from optml_queue.api.page.forms import Form, refuse_viewers, see
from optml_queue.api.page.rendering import page
from optml_queue.api.problems import ConflictError
from optml_queue.api.routes import control
from optml_queue.api.routes.control import Reason, Selection
from optml_queue.api.routes.experiments import Id, delete_experiment, experiment_of
from optml_queue.errors import InputError, NotFoundError

MESSAGES = {
    "pause": "Paused. Trials that run go on to their end; no other begins.",
    "restore": "Back from the archive.",
    "resume": "Resumed.",
    "stop": "Stopping. Trials that run go on to their end; no other begins.",
    "cancel": "Cancelled. Results so far stay.",
    "retry": "These trials will run again.",
    "extend": "Extended. The new points run.",
    "submit": "Submitted.",
    "remove": "The experiment was removed.",
}

REASON_MAX = 500

router = APIRouter(prefix="/experiments/{id}", include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Verb:
    """What a button does. `question` is asked first when what it does cannot be taken back."""

    act: Callable[[str, Installation, Reason], object]
    title: str = ""
    question: str = ""


VERBS: Mapping[str, Verb] = {
    "pause": Verb(lambda id_, here, why: control.pause(id_, here, why)),
    "restore": Verb(lambda id_, here, _why: control.restore(id_, here)),
    "resume": Verb(lambda id_, here, _why: control.resume(id_, here)),
    "stop": Verb(
        lambda id_, here, why: control.stop(id_, here, why),
        "Stop",
        "Trials that run go on to their end. No other trial begins, and the experiment is over then.",
    ),
    "cancel": Verb(
        lambda id_, here, why: control.cancel(id_, here, why),
        "Cancel",
        "Trials that wait are cancelled, and trials that run are told to end now. Results so far stay.",
    ),
    "remove": Verb(
        lambda id_, here, _why: delete_experiment(id_, here),
        "Remove",
        "Its trials, its results and its files in the archive are deleted. Nothing brings them back.",
    ),
}


@router.post("/retry")
def retry(here: Here, id: Id, form: Form) -> Response:  # noqa: A002
    """Run trials again: one by its number, or all that failed or were cancelled."""
    number = form.get("number", "")
    if number and not (number.isdecimal() and len(number) <= 15):
        raise InputError(f"number: {number[:40]!r} is no trial's number")
    chosen = Selection(
        numbers=[int(number)] if number else [],
        failed=form.get("state") == "failed",
        cancelled=form.get("state") == "cancelled",
    )
    control.retry(id, here, chosen)
    return see(f"/experiments/{id}/trials/{number}" if number else f"/experiments/{id}", "retry")


@router.get("/{verb}")
def ask(request: Request, here: Here, id: Id, verb: str) -> Response:  # noqa: A002
    """Ask before something is done that cannot be taken back."""
    asked = VERBS.get(verb)
    if asked is None or not asked.question:
        raise NotFoundError("there is no such page")
    refuse_viewers(request)
    return page(request, "confirm.html", experiment=experiment_of(here, id), verb=verb, asked=asked)


@router.post("/{verb}")
def act(here: Here, id: Id, verb: str, form: Form) -> Response:  # noqa: A002
    """Do it."""
    asked = VERBS.get(verb)
    if asked is None:
        raise NotFoundError("there is no such page")
    found = experiment_of(here, id)
    if asked.question and form.get("sure") != "yes":
        raise ConflictError(f"{verb} was not confirmed")
    asked.act(found.id, here, Reason(reason=form.get("reason", "")[:REASON_MAX]))
    return see("/" if verb == "remove" else f"/experiments/{found.id}", verb)
