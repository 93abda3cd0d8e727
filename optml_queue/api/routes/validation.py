"""/api/v1/validation: what a spec amounts to, without submitting it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.api.routes.experiments import SPEC_BODY
from optml_queue.api.submission import SpecBody, read_spec
from optml_queue.search import segments

FIRST, LAST = 3, 2
COUNT_LIMIT = 100_000  # conditions are tried on so many points; with more, `trials` is an upper bound

router = APIRouter(prefix="/api/v1/validation", tags=["validation"])


class PlannedTrial(Document):
    """A trial that the spec would have."""

    number: int
    params: dict[str, Any]
    seed: int


class Preview(Document):
    """What a spec amounts to. `trials` is an upper bound unless `exact`. `resolved` is YAML with every default."""

    name: str
    trials: int
    exact: bool
    metric: str
    goal: str
    parameters: list[str]
    first: list[PlannedTrial]
    last: list[PlannedTrial]
    resolved: str


@router.post("", openapi_extra=SPEC_BODY)
def validate(sent: SpecBody, here: Here, request: Request) -> Preview:
    """Check a spec and count its trials. Changes nothing."""
    spec = read_spec(sent, here, request.state.token.role)
    plan = segments(spec)
    trials, exact = plan.count(COUNT_LIMIT)
    first, last = (
        [PlannedTrial(number=n, params=p, seed=s) for n, p, s in some] for some in (plan.first(FIRST), plan.last(LAST))
    )
    return Preview(
        name=spec.name,
        trials=trials,
        exact=exact,
        metric=spec.metric,
        goal=spec.goal,
        parameters=[axis.name for axis in spec.space.axes],
        first=first,
        last=last,
        resolved=spec.to_yaml(),
    )
