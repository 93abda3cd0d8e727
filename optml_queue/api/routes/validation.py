"""/api/v1/validation: what a spec amounts to, without submitting it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.api.routes.experiments import SPEC_BODY
from optml_queue.api.submission import SpecBody, read_spec, told_of
from optml_queue.earlier import Earlier
from optml_queue.forecast import forecast_of
from optml_queue.search import segments

FIRST, LAST = 3, 2
COUNT_LIMIT = 100_000  # conditions are tried on so many points; with more, `trials` is an upper bound

# A form asks while one types: what takes longer than a fraction of a second is not told.
READ_MAX = LOOKED_UP_MAX = 10_000  # trials of earlier experiments; trials of the plan, each to be looked up

router = APIRouter(prefix="/api/v1/validation", tags=["validation"])


class PlannedTrial(Document):
    """A trial that the spec would have."""

    number: int
    params: dict[str, Any]
    seed: int


class StartSource(Document):
    """An earlier experiment that the search would start from: how many of its `trials` are `used`.

    `unused` counts the others by reason.
    """

    experiment: str
    used: int
    trials: int
    unused: dict[str, int]


class ReuseForecast(Document):
    """How many `results` earlier `experiments` have for the same code and data.

    So many `trials` would take one over; null where the plan does not tell, or has too many to look up.
    """

    results: int
    experiments: int
    trials: int | None


class Preview(Document):
    """What a spec amounts to. `trials` is an upper bound unless `exact`. `resolved` is YAML with every default.

    `start_from` and `reuse` say what it would take over from earlier experiments, if it were submitted now. `unread`
    names those of the two for which too many earlier trials would have to be read: `optml-submit --dry-run` tells.
    """

    name: str
    trials: int
    exact: bool
    metric: str
    goal: str
    parameters: list[str]
    first: list[PlannedTrial]
    last: list[PlannedTrial]
    resolved: str
    start_from: list[StartSource]
    reuse: ReuseForecast | None
    unread: list[str]


@router.post("", openapi_extra=SPEC_BODY)
def validate(sent: SpecBody, here: Here, request: Request) -> Preview:
    """Check a spec and count its trials. Changes nothing."""
    spec = read_spec(sent, here, request.state.token.role)
    earlier = Earlier(here.archive, here.store, READ_MAX)
    with told_of(sent):
        prior = forecast_of(spec, earlier, here.settings.cache_dir, LOOKED_UP_MAX)
    taken_over, plan = prior.document(), segments(spec)
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
        start_from=taken_over.get("start_from", []),
        reuse=taken_over.get("reuse"),
        unread=list(prior.unread),
    )
