"""How large a request may be, and the headers that every response carries."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from optml_queue import pack
from optml_queue.api.problems import ApiError, told
from optml_queue.spec.document import MAX_BYTES

UPLOADS = "/api/v1/data"
PROGRAMS = "/api/v1/programs"
# What a pack may hold, and a header and a half-filled block for each of its files.
PACK_BYTES = pack.MAX_BYTES + pack.MAX_FILES * 1024
ADDRESS_MAX = 8_192

# No inline scripts or styles, nothing from anywhere else: what an experiment's name, parameter or error says can then
# never run in the page, however it is written there. Scripts may set styles through the CSSOM.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class LastResort:
    """ASGI middleware, the outermost: every response carries SECURITY_HEADERS, and every exception becomes one.

    Nothing is stored by browsers and proxies unless its route says so.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begun = False

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        except Exception as error:
            if begun:  # half a response: only a broken connection can say so
                raise
            await told(error)(scope, receive, dressed)


class BodyLimit:
    """ASGI middleware: a body longer than its route may take is refused, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self._app = app
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = {UPLOADS: self._upload_bytes, PROGRAMS: min(self._upload_bytes, PACK_BYTES)}
        limit = limits.get(scope["path"], MAX_BYTES)
        refused = _refusal(scope, limit)
        if refused is not None:
            await told(refused)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise too_large(limit)
            return message

        await self._app(scope, counted, send)


def too_large(limit: int) -> ApiError:
    """The error for a body of more than `limit` bytes."""
    return ApiError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit:,} bytes", {"Connection": "close"}
    )


def _refusal(scope: Scope, limit: int) -> ApiError | None:
    if len(scope["path"]) + len(scope["query_string"]) > ADDRESS_MAX:
        return ApiError(HTTPStatus.REQUEST_URI_TOO_LONG, f"the address is longer than {ADDRESS_MAX:,} characters")
    announced: Any = Headers(scope=scope).get("content-length", "0")
    if not announced.isdecimal():
        return ApiError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    return too_large(limit) if int(announced[:20]) > limit else None
