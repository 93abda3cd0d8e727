"""/docs: the OpenAPI document for people, without a script, and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> HTMLResponse:
    """Every operation with its parameters and what it does."""
    return HTMLResponse("\n".join(_page(request.app.openapi())))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = f"{escape(info['title'])} API"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
    yield f"<body><h1>{title}</h1>"
    yield from (f"<p>{escape(part)}</p>" for part in info["description"].split("\n\n"))
    yield '<p>For programs: <a href="/openapi.json">openapi.json</a></p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield from (f"<p>{escape(part)}</p>" for part in operation["description"].split("\n\n"))
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<ul>"
        yield from (f"<li><code>{escape(p['name'])}</code> {escape(p.get('description', ''))}</li>" for p in parameters)
        yield "</ul>"
    body = operation.get("requestBody")
    if body:
        yield f"<p>Body: {escape(', '.join(body['content']))}. {escape(body.get('description', ''))}</p>"
