"""The store's Lua scripts: each file is one call of the table in docs/design.md, after what it shares with others."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_SHARED = {"report": ("stopping",), "reserve": ("stopping",)}  # besides the prelude, which all have


@cache
def source(name: str) -> str:
    """The text of one script, in front of it what it shares with others."""
    folder = files(__name__)
    parts = ("prelude", *_SHARED.get(name, ()), name)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
