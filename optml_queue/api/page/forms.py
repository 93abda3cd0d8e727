"""What a form of the page sends, and where its answer leads."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from optml_queue.api.problems import ApiError
from optml_queue.store.tokens import Role

FIELDS_MAX = 1_000


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form; of several with one name the last. Browsers end lines with CR LF."""
    body = (await request.body()).decode(errors="replace")
    pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


Form = Annotated[Mapping[str, str], Depends(form_of)]


def see(path: str, said: str = "") -> RedirectResponse:
    """Go and look at another page, after something was done; `said` is a key of MESSAGES there."""
    return RedirectResponse(f"{path}?said={quote(said)}" if said else path, 303)


def refuse_viewers(request: Request) -> None:
    """Raises ApiError for a page whose only use is to change something, as the gate does when it is sent."""
    token = request.state.token
    if token.role is not Role.OPERATOR:
        raise ApiError(HTTPStatus.FORBIDDEN, f"the token {token.name} is a viewer's: it may change nothing")


def own_path(text: str) -> str:
    """A path of this site; "/" for anything that could lead elsewhere."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and "\\" not in text and text.isprintable()
    return text if is_ours else "/"
