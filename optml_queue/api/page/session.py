"""Signing in and out by form."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from optml_queue.api.installation import Here
from optml_queue.api.page.forms import Form, own_path, see
from optml_queue.api.page.rendering import page
from optml_queue.api.problems import ApiError
from optml_queue.api.routes.session import SignIn, sign_in, sign_out

TOKEN_MAX = 200

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
def show_sign_in(request: Request) -> Response:
    """The form."""
    return page(request, "sign-in.html", target="/", message="")


@router.post("/sign-in")
def take_token(form: Form, here: Here, request: Request) -> Response:
    """Open a session, and go where one wanted to."""
    target = own_path(form.get("target", "/"))
    response = see(target)
    try:
        sign_in(SignIn(token=form.get("token", "").strip()[:TOKEN_MAX]), here, request, response)
    except ApiError as error:
        if error.status_code != HTTPStatus.UNAUTHORIZED:
            raise
        return page(request, "sign-in.html", status=401, target=target, message=error.detail)
    return response


@router.post("/sign-out")
def leave(here: Here, request: Request) -> Response:
    """End the session."""
    response = see("/sign-in")
    sign_out(here, request, response)
    return response
