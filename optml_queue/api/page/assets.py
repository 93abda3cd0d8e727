"""The page's own files and plotly.js, under addresses that carry their digest: a browser fetches each once."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib import metadata
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from optml_queue.errors import NotFoundError

FOLDER = files("optml_queue.api.page") / "static"
PLOTLY = "plotly.min.js"
MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
CACHED = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}

router = APIRouter(prefix="/static")


@cache
def digest() -> str:
    """What the addresses of all files carry: it changes when any of them does. Modules import each other by it."""
    total = hashlib.sha256(metadata.version("plotly").encode())
    for name in names():
        total.update(name.encode() + (FOLDER / name).read_bytes())
    return total.hexdigest()[:16]


@cache
def names() -> tuple[str, ...]:
    """The page's own files."""
    return tuple(sorted(each.name for each in FOLDER.iterdir() if each.name.rpartition(".")[2] in MEDIA_TYPES))


def address(name: str) -> str:
    """Where a file is served."""
    return f"/static/{digest()}/{name}"


@cache
def _content(name: str, *, compressed: bool) -> bytes:
    if compressed:
        return gzip.compress(_content(name, compressed=False), 9, mtime=0)
    if name == PLOTLY:
        return (files("plotly") / "package_data" / PLOTLY).read_bytes()
    return (FOLDER / name).read_bytes()


@router.get("/{version}/{name}", include_in_schema=False)
def asset(version: str, name: str, request: Request) -> Response:
    """One file. Nothing but the names known is ever opened."""
    if version != digest() or name not in (*names(), PLOTLY):
        raise NotFoundError("there is no such file")
    compressed = "gzip" in request.headers.get("accept-encoding", "")
    headers = {**CACHED, **({"Content-Encoding": "gzip"} if compressed else {})}
    return Response(_content(name, compressed=compressed), 200, headers, MEDIA_TYPES[name.rpartition(".")[2]])
