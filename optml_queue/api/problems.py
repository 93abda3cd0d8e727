"""Every error as a problem document (RFC 9457), with the words that the command line would use."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from optml_queue.errors import ArchiveError, InputError, NotFoundError, OptmlError, SpecError, UnreachableError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)


class SpecProblem(BaseModel):
    """One thing wrong with what was sent. `line` counts from 1; 0: the whole document, or none in particular."""

    key: str
    message: str
    line: int = 0
    advice: str = ""


class Problem(BaseModel):
    """A problem document. `detail` is what the command line would say; `problems` are its parts, one by one."""

    model_config = ConfigDict(json_schema_extra={"required": ["type", "title", "status", "detail"]})

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    problems: list[SpecProblem] | None = None


class ApiError(HTTPException):
    """An error that belongs to HTTP alone: who asks, how much, how often."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))


class ConflictError(ApiError):
    """What was asked for does not go with the state that things are in."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.CONFLICT, detail)


def problem(
    status: int, detail: str, *, problems: list[SpecProblem] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The response that tells of a problem."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, problems=problems)
    body = json.dumps(document.model_dump(exclude_none=True), ensure_ascii=False)
    return Response(body.encode(errors="backslashreplace"), status, headers, MEDIA_TYPE)


def told(error: Exception) -> Response:
    """The response for an exception of any kind. What nobody thought of is in the log, never in the response."""
    if isinstance(error, SpecError):
        parts = [SpecProblem(key=p.key, message=p.message, line=p.line, advice=p.advice) for p in error.problems]
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), problems=parts)
    if isinstance(error, OptmlError):
        headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, UnreachableError) else {}
        return problem(_status(error), str(error), headers=headers)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return problem(error.status_code, _worded(error), headers=error.headers)
    logger.error("a request failed in a way it should not", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed in a way it should not; its log says how")


def _status(error: OptmlError) -> HTTPStatus:
    statuses = {
        NotFoundError: HTTPStatus.NOT_FOUND,
        InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
        UnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
        ArchiveError: HTTPStatus.BAD_GATEWAY,
    }
    for kind, status in statuses.items():
        if isinstance(error, kind):
            return status
    return HTTPStatus.CONFLICT


def _worded(error: HTTPException) -> str:
    words = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address; /docs shows what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: "this address does not take that method; the Allow header says which",
    }
    plain = HTTPStatus(error.status_code).phrase
    return words.get(HTTPStatus(error.status_code), error.detail) if error.detail == plain else error.detail


def _invalid(error: RequestValidationError) -> Response:
    parts = [
        SpecProblem(key=".".join(map(str, item["loc"][1:])) or str(item["loc"][0]), message=str(item["msg"]))
        for item in error.errors()
    ]
    detail = "\n".join(f"{part.key}: {part.message}" for part in parts)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, problems=parts)


def tell_problems(app: FastAPI) -> None:
    """Have the application answer every exception with a problem document."""

    async def handler(_request: Request, error: Exception) -> Response:
        return told(error)

    for kind in (OptmlError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handler)


# What the OpenAPI document says of every operation.
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "A problem with the request", "content": _CONTENT},
    "5XX": {"description": "A problem of the installation", "content": _CONTENT},
}
