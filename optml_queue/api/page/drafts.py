"""A spec in the making: a new experiment, and one that covers more."""

from __future__ import annotations

import hashlib
import secrets
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from optml_queue.api.installation import Here
from optml_queue.api.page.forms import Form, refuse_viewers, see
from optml_queue.api.page.rendering import page
from optml_queue.api.routes.control import extend
from optml_queue.api.routes.experiments import Id, create_experiment, experiment_of, stored
from optml_queue.api.submission import Sent
from optml_queue.errors import InputError, SpecError
from optml_queue.spec import Spec

KEY_MAX = 64
EXAMPLE = """name: lms-sunspots
algorithm: lms
method: grid
metric: {name: nmse, goal: minimize}
parameters:
  learning_rate: {values: [1e-8, 1e-7, 1e-6, 5e-6, 1e-5]}
  filter_size: {value: 5}
data: {name: sunspots}
"""

router = APIRouter(prefix="/experiments", include_in_schema=False)


@router.get("/new")
def show_new(request: Request, here: Here, like: str = "") -> Response:
    """The form for a new experiment; with `like`, filled in with another one's spec."""
    refuse_viewers(request)
    text = Spec.from_json(experiment_of(here, like).spec).text if like else EXAMPLE
    return _form(request, text, is_given=bool(like))


@router.post("/new")
def create(request: Request, here: Here, form: Form) -> Response:
    """Submit it. The same form sent twice makes one experiment."""
    text = form.get("spec", "")
    key = hashlib.sha256(f"{form.get('key', '')[:KEY_MAX]} {text}".encode(errors="replace")).hexdigest()
    response = Response()
    try:
        created = create_experiment(Sent(text, has_lines=True), here, request, response, key)
    except InputError as error:
        return _form(request, text, error=error, is_given=True)
    return see(f"/experiments/{created.experiment}", "submit")


@router.get("/{id}/extend")
def show_extend(request: Request, here: Here, id: Id) -> Response:  # noqa: A002
    """The spec of an experiment, to be given more points."""
    refuse_viewers(request)
    found = stored(here, id)
    spec = Spec.from_json(found.spec)
    return _form(request, spec.text or spec.to_yaml(), extended=found.id, is_given=True)


@router.post("/{id}/extend")
def take_extension(request: Request, here: Here, id: Id, form: Form) -> Response:  # noqa: A002
    """Extend it."""
    text = form.get("spec", "")
    try:
        extend(id, Sent(text, has_lines=True), here, request)
    except InputError as error:
        return _form(request, text, error=error, extended=id, is_given=True)
    return see(f"/experiments/{id}", "extend")


def _form(
    request: Request, text: str, *, error: InputError | None = None, extended: str = "", is_given: bool = False
) -> Response:
    problems = list(error.problems) if isinstance(error, SpecError) else []
    return page(
        request,
        "draft.html",
        status=HTTPStatus.OK if error is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        text=text,
        problems=problems,
        problem="" if error is None or problems else str(error),
        extended=extended,
        is_given=is_given,
        key=secrets.token_urlsafe(12),
    )
