"""Errors as pages, with the words of the API's problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from optml_queue.api.page.rendering import page
from optml_queue.api.problems import told
from optml_queue.errors import OptmlError

KEPT = ("retry-after", "www-authenticate", "allow")


def shows_pages(request: Request) -> bool:
    """Whether whoever asks reads HTML: a browser that goes to an address, not a program."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def answer(request: Request, error: Exception) -> Response:
    """The response for an exception: a page for people, a problem document for programs."""
    document = told(error)
    if not shows_pages(request):
        return document
    content = json.loads(bytes(document.body))
    kept = {name: document.headers[name] for name in KEPT if name in document.headers}
    if document.status_code == HTTPStatus.UNAUTHORIZED:
        # In place: one comes back to the address that was asked for.
        query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
        target = request.url.path + query if request.method == "GET" else "/"
        response: Response = page(request, "sign-in.html", status=401, target=target, message="")
    else:
        response = page(request, "problem.html", status=document.status_code, problem=content)
    response.headers.update(kept)
    return response


def refuse(request: Request, error: Exception) -> Response | None:
    """What the gate answers with."""
    return answer(request, error)


def show_failures(app: FastAPI) -> None:
    """Have the application answer people with pages where it would answer programs with documents."""

    async def handler(request: Request, error: Exception) -> Response:
        return answer(request, error)

    for kind in (OptmlError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handler)
