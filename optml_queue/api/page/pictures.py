"""An experiment's plots one by one: on a page of its own, to look closer, and as pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response

from optml_queue.api.installation import Here
from optml_queue.api.page.rendering import page
from optml_queue.api.routes.experiments import Id, experiment_of
from optml_queue.driver import Goal
from optml_queue.errors import ArchiveError, InputError, NotFoundError
from optml_queue.spec import Spec

PICTURE_MAX = 20_000  # finished trials that a picture is drawn of while somebody waits for it

router = APIRouter(prefix="/experiments/{id}", include_in_schema=False)


@router.get("/plots/{figure}")
def plot(
    request: Request,
    here: Here,
    id: Id,  # noqa: A002
    figure: Annotated[str, Path(pattern="^[a-z]{1,20}$")],
) -> Response:
    """One plot on a page of its own, drawn by plotly.js."""
    return page(request, "plot.html", plotly=True, experiment=experiment_of(here, id), figure=figure)


@router.get("/{kind}.png")
def picture(here: Here, id: Id, kind: Literal["error", "contour", "pareto"]) -> Response:  # noqa: A002
    """A plot as a picture: the archive's when it shows the end, else one drawn now."""
    found = experiment_of(here, id)
    if found.is_consolidated:
        try:
            return Response(here.archive.get(f"{found.id}/{kind}.png"), media_type="image/png")
        except ArchiveError:
            pass  # somebody removed it; the store has what it showed
    if found.finished > PICTURE_MAX:
        raise InputError(f"{found.id} has more than {PICTURE_MAX:,} trials: its picture is drawn at its end")
    # Late, for it imports matplotlib, which most processes of the API never need.
    from optml_queue.plots import contour_plot, error_plot, pareto_plot

    spec, trials = Spec.from_json(found.spec), here.reader(found).stream(found.id)
    if kind == "pareto":
        drawn = pareto_plot(trials, spec.metrics, found.id) if spec.other_metrics else None
    else:
        draw = error_plot if kind == "error" else contour_plot
        parameters = [axis.name for axis in spec.space.axes]
        drawn = draw(trials, parameters, found.metric, Goal(found.goal), found.id)
    if drawn is None:
        raise NotFoundError(f"{found.id} has nothing that a picture of the kind {kind} could show")
    return Response(drawn, media_type="image/png")
