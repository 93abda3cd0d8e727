"""/session: a browser signs in with a token, and out."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from optml_queue.api.access import SESSION_COOKIE, refuse_other_sites, too_many
from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.api.problems import ApiError
from optml_queue.store.tokens import SESSION_S, Role

SIGN_INS_PER_MINUTE = 60.0  # from one address

router = APIRouter(prefix="/session", tags=["session"])


class SignIn(BaseModel):
    """What one signs in with."""

    token: str = Field(max_length=200)


class Session(Document):
    """Who is signed in."""

    name: str
    role: Role


@router.post("", status_code=201)
def sign_in(body: SignIn, here: Here, request: Request, response: Response) -> Session:
    """Sign in: the answer sets a cookie that stands for the token, for half a day.

    The cookie is HttpOnly (no script can read it) and SameSite=Strict (no other site's page sends it along).
    """
    refuse_other_sites(request)
    client = request.client.host if request.client else "-"
    if wait_s := here.tokens.admit(f"sign-in:{client}", SIGN_INS_PER_MINUTE):
        raise too_many(wait_s)
    token = here.tokens.of(body.token.strip())
    if token is None:
        raise ApiError(HTTPStatus.UNAUTHORIZED, "this is not a valid token; `optml token create` makes one")
    response.set_cookie(
        SESSION_COOKIE,
        here.tokens.open_session(token),
        max_age=SESSION_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return Session(name=token.name, role=token.role)


@router.delete("", status_code=204)
def sign_out(here: Here, request: Request, response: Response) -> None:
    """Sign out: the session ends, here and in the store."""
    refuse_other_sites(request)
    if text := request.cookies.get(SESSION_COOKIE):
        here.tokens.close_session(text)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
