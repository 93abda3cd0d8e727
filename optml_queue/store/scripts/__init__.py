"""The store's Lua scripts: each file is one call of the table in docs/design.md, after a shared prelude."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """The text of one script, its prelude in front."""
    folder = files(__name__)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name))
