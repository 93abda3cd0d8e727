"""The gate before every route: who asks, what they may do, how often, and from which site.

It refuses by default. A route is open without a token only when its path stands in OPEN, and a viewer may call it
only when its method changes nothing or its path stands in HARMLESS; so a new route cannot be forgotten.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from optml_queue.api.problems import ApiError, told
from optml_queue.store.tokens import Role, Token, Tokens

SESSION_COOKIE = "optml_session"
OPEN = ("/healthz", "/readyz", "/session", "/sign-in", "/sign-out")
# What the sign-in page needs: its own files, never an experiment's.
OPEN_FOLDERS = ("/static/",)
# Checking a spec takes a POST, for it is too long for an address, but changes nothing.
HARMLESS = ("/api/v1/validation",)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

audit = logging.getLogger("optml_queue.audit")


class Gate:
    """ASGI middleware. A request that passes carries its token in `request.state.token`."""

    def __init__(self, app: ASGIApp, tokens: Tokens, requests_per_minute: int, refuse: Refuse | None = None) -> None:
        self._app = app
        self._tokens = tokens
        self._requests_per_minute = requests_per_minute
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            token = await self._admit(request)
        except Exception as error:  # noqa: BLE001 - outside the application's own handlers
            response = (self._refuse and self._refuse(request, error)) or told(error)
            await response(scope, receive, send)
            return
        if token is None or request.method in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _noted(send, request, token))

    async def _admit(self, request: Request) -> Token | None:
        """The token of a request; None where none is needed. Raises ApiError."""
        if _is_open(request.url.path):
            return None
        token, by_cookie = await run_in_threadpool(self._identify, request)
        request.state.token = token
        if by_cookie:
            refuse_other_sites(request)
        if not token.role.covers(needed_role(request.method, request.url.path)):
            raise ApiError(HTTPStatus.FORBIDDEN, f"the token {token.name} is a viewer's: it may change nothing")
        return token

    def _identify(self, request: Request) -> tuple[Token, bool]:
        """Who asks, and whether a cookie says so."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(SESSION_COOKIE, "")
        if scheme:
            token = self._tokens.of(text.strip()) if scheme.lower() == "bearer" else None
        else:
            token = self._tokens.of_session(cookie) if cookie else None
        if token is None:
            raise ApiError(
                HTTPStatus.UNAUTHORIZED,
                "a valid token is needed: send Authorization: Bearer TOKEN; `optml token create` makes one",
                {"WWW-Authenticate": 'Bearer realm="optml"'},
            )
        wait_s = self._tokens.admit(token.id, self._requests_per_minute)
        if wait_s:
            raise too_many(wait_s)
        return token, not scheme


Refuse = Callable[[Request, Exception], Response | None]


def too_many(wait_s: float) -> ApiError:
    """The error for one who asks too often."""
    seconds = max(1, math.ceil(wait_s))
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS, f"too many requests; try again in {seconds} s", {"Retry-After": str(seconds)}
    )


def needed_role(method: str, path: str) -> Role:
    """Who may call a route."""
    return Role.VIEWER if method in SAFE_METHODS or path in HARMLESS else Role.OPERATOR


def refuse_other_sites(request: Request) -> None:
    """Raises ApiError when a browser sends what another site's page made it send.

    SameSite=Strict keeps the cookie from other sites, but a page on another port of this host is the same site. So a
    request that changes something must say that it comes from this very origin; browsers do (Sec-Fetch-Site, or
    Origin in old ones), and no page can forge those headers.
    """
    if request.method in SAFE_METHODS:
        return
    fetched_from = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    is_ours = fetched_from == "same-origin" if fetched_from else bool(origin) and origin == request.headers.get("host")
    if not is_ours:
        raise ApiError(
            HTTPStatus.FORBIDDEN, "refused: with a cookie, changes are taken from this site's own pages only"
        )


def _is_open(path: str) -> bool:
    return path in OPEN or (path.startswith(OPEN_FOLDERS) and ".." not in path)


def _noted(send: Send, request: Request, token: Token) -> Callable[[Any], Awaitable[None]]:
    """Write down what a token did, once it is known how it went. No bodies, no secrets."""

    async def note(message: Any) -> None:
        if message["type"] == "http.response.start":
            client = request.client.host if request.client else "-"
            audit.info(
                "%s (%s) %s %s -> %d from %s",
                token.name,
                token.role,
                request.method,
                # Escaped: a line feed in an address must not begin a line of the log.
                request.url.path.encode("unicode_escape").decode(),
                message["status"],
                client,
            )
        await send(message)

    return note
