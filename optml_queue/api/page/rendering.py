"""From a template to a response. Everything that a template writes is escaped."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from optml_queue import __version__
from optml_queue.api.limits import CONTENT_SECURITY_POLICY
from optml_queue.api.page import assets, wording
from optml_queue.store.tokens import Role
from optml_queue.trial import TrialState

# In the order in which a bar of progress shows them.
STATES = (
    TrialState.COMPLETE,
    TrialState.STOPPED_EARLY,
    TrialState.DIVERGED,
    TrialState.FAILED,
    TrialState.CANCELLED,
    TrialState.RUNNING,
    TrialState.QUEUED,
)
# plotly.js adds style elements and attributes; all other pages do without.
PLOTLY_POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
# Browsers leave out the Origin of a form that is sent from a page with no-referrer, and the gate asks for it.
HEADERS = {"Referrer-Policy": "same-origin"}


@cache
def environment() -> Environment:
    """The templates, and the words that they use."""
    made = Environment(
        loader=PackageLoader("optml_queue.api.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "param", "duration", "pace", "ago", "moment", "iso", "share"):
        made.filters[name] = getattr(wording, name)
    made.globals |= {"asset": assets.address, "plotly_file": assets.PLOTLY, "STATES": STATES, "version": __version__}
    return made


def page(
    request: Request, template: str, *, status: int = HTTPStatus.OK, plotly: bool = False, **values: Any
) -> HTMLResponse:
    """A template with its values, and with who is signed in."""
    token = getattr(request.state, "token", None)
    text = (
        environment()
        .get_template(template)
        .render(
            token=token,
            may_change=token is not None and token.role is Role.OPERATOR,
            path=request.url.path,
            monitor_url=request.app.state.installation.settings.monitor_url,
            **values,
        )
    )
    policy = {"Content-Security-Policy": PLOTLY_POLICY} if plotly else {}
    # An unpaired surrogate, which JSON can hold, has no bytes of its own.
    return HTMLResponse(text.encode(errors="replace"), status, headers={**HEADERS, **policy})
