"""The list of experiments, one experiment, and two side by side."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.columns import STATES, Columns
from optml_queue.api.documents import ExperimentDetail
from optml_queue.api.installation import Here, Installation
from optml_queue.api.page.control import MESSAGES
from optml_queue.api.page.pictures import PICTURE_MAX
from optml_queue.api.page.rendering import page
from optml_queue.api.routes.experiments import Id, experiment_of, part_of
from optml_queue.api.routes.trials import Leaderboard, RankedPoint, best
from optml_queue.hints import Column, Findings, hints, numbers_of
from optml_queue.spec import Spec
from optml_queue.store import Experiment, ExperimentState
from optml_queue.trial import TrialState

PER_PAGE = 25
TOP = 10
FRONT_SHOWN = 50
FAILED_SHOWN, RUNNING_SHOWN = 5, 8
RANKED_MAX = 5_000  # finished trials under several seeds that are ranked while somebody waits for a page
COMPARED = 2

router = APIRouter(include_in_schema=False)


@router.get("/")
def list_experiments(
    request: Request,
    here: Here,
    state: ExperimentState | None = None,
    number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1,
    said: str = "",
) -> Response:
    """Experiments, the newest first."""
    part = part_of(here, state, (number - 1) * PER_PAGE, PER_PAGE)
    return page(
        request,
        "experiments.html",
        experiments=[_row(here, each) for each in part.experiments],
        total=part.total,
        unread=part.unread,
        problem=part.problem,
        number=number,
        pages=max(1, -(-part.total // PER_PAGE)),
        page_link=lambda n: f"/?{urlencode({'state': state, 'page': n} if state else {'page': n})}",
        state=state,
        states=tuple(ExperimentState),
        message=MESSAGES.get(said, ""),
    )


@router.get("/experiments/{id}")
def show_experiment(
    request: Request,
    here: Here,
    id: Id,  # noqa: A002
    said: str = "",
    part: str = "",
    front: str = "",
) -> Response:
    """One experiment; with `part=live` only what changes while it runs, which its script asks for.

    With `front` the leaderboard has the trials on the Pareto front alone.
    """
    found = experiment_of(here, id)
    detail = _detail(here, found)
    columns = here.columns(found)
    reader = here.reader(found)
    values: dict[str, Any] = {
        "experiment": detail,
        **_leaders(here, found, detail, columns, only_front=bool(front)),
        "varied": _varied(found),
        "hints": hints(_findings(columns), found.goal),
        "is_partial": columns.covered < columns.finished,
        "failed": reader.page(found.id, TrialState.FAILED, limit=FAILED_SHOWN),
        "running": reader.page(found.id, TrialState.RUNNING, limit=RUNNING_SHOWN),
        "now": time.time(),
    }
    if part == "live":
        return page(request, "experiment-live.html", **values)
    spec = Spec.from_json(found.spec)
    return page(
        request,
        "experiment.html",
        spec=spec.text or spec.to_yaml(),
        has_picture=bool(found.finished) and (found.is_consolidated or found.finished <= PICTURE_MAX),
        message=MESSAGES.get(said, ""),
        **values,
    )


@router.get("/experiments/{id}/spec.yaml")
def spec_file(here: Here, id: Id) -> Response:  # noqa: A002
    """The spec as it was typed, as a file."""
    found = experiment_of(here, id)
    spec = Spec.from_json(found.spec)
    headers = {"Content-Disposition": f'attachment; filename="{found.id}.yaml"'}
    return Response((spec.text or spec.to_yaml()).encode(errors="replace"), 200, headers, "application/yaml")


@router.get("/compare")
def compare(
    request: Request,
    here: Here,
    ids: Annotated[list[str], Query(alias="id", max_length=20)] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Two experiments side by side."""
    chosen = [experiment_of(here, each) for each in dict.fromkeys(filter(None, ids))]
    recent = here.store.ids()[:200]
    if len(chosen) != COMPARED:
        message = f"choose two experiments to compare; there are {len(chosen)}" if chosen else ""
        return page(request, "compare.html", pair=[], recent=recent, chosen=[e.id for e in chosen], message=message)
    pair = [(_detail(here, each), Spec.from_json(each.spec).to_dict()) for each in chosen]
    return page(
        request,
        "compare.html",
        pair=[detail for detail, _ in pair],
        rows=_differences(pair[0][1], pair[1][1]),
        recent=recent,
        chosen=[each.id for each in chosen],
        message="",
    )


def _row(here: Installation, found: Experiment) -> ExperimentDetail:
    """What the list shows of an experiment. Of one that only the archive has, no trial is read for it."""
    return ExperimentDetail.listed(found) if isinstance(found, ArchivedExperiment) else _detail(here, found)


def _detail(here: Installation, found: Experiment) -> ExperimentDetail:
    spec = json.loads(found.spec)
    return ExperimentDetail.read(here.reader(found), found, list(spec["parameters"]), len(spec["seeds"]))


def _leaders(
    here: Installation, found: Experiment, detail: ExperimentDetail, columns: Columns, *, only_front: bool
) -> dict[str, Any]:
    """What the leaderboard shows: the best points or the front, and with several metrics what each measured."""
    reader = here.reader(found)
    front = columns.numbers[columns.front].tolist()
    only_front = only_front and bool(columns.weighed)
    shown = reader.trials(found.id, front[:FRONT_SHOWN]) if only_front else []
    points = [
        RankedPoint(
            rank=rank, params=t.params, mean=t.metrics[found.metric], sd=None, n=1, of=1, diverged=0, number=t.number
        )
        for rank, t in enumerate(shown, start=1)
    ]
    board = _board(here, found, detail)
    listed = points if only_front else board.points if board else []
    others = [metric.name for metric in columns.weighed if metric.name != found.metric]
    measured = reader.trials(found.id, [point.number for point in listed]) if others else []
    return {
        "board": board,
        "listed": listed,
        "others": others,
        "measured": {trial.number: trial.metrics for trial in measured},
        "front": set(front),
        "only_front": only_front,
        "infeasible": int((columns.broken >= 0).sum()),
    }


def _board(here: Installation, found: Experiment, detail: ExperimentDetail) -> Leaderboard | None:
    """The best points; None while that takes too long."""
    if detail.seeds > 1 and found.finished > RANKED_MAX and not found.is_consolidated:
        return None
    return best(found.id, here, TOP)


def _parameters(found: Experiment) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(found.spec)["parameters"]
    return parameters


def _varied(found: Experiment) -> list[str]:
    """The parameters that take more than one value."""
    parameters = _parameters(found)
    varied = [name for name, form in parameters.items() if "value" not in form and len(form.get("values", "..")) > 1]
    return varied or list(parameters)


def _differences(left: Any, right: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The keys of two specs that differ, and what each has."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = dict.fromkeys((*left, *right))
        return [
            row
            for name in names
            for row in _differences(left.get(name), right.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if left == right else [(path, left, right)]


def _lengths(name: str, columns: Columns) -> tuple[str, Column] | None:
    """The lengths of a parameter's lists, by the name that hints have for them; None when it has none."""
    labels = numbers_of(name, columns.labels[name])
    if labels is None or labels[0] == name:
        return None
    codes = columns.parameters[name]
    known = np.isfinite(codes)
    lengths = np.full(len(codes), np.nan)
    lengths[known] = labels[1][codes[known].astype(int)]
    return labels[0], lengths


def _findings(columns: Columns) -> Findings:
    """The columns whose parameters are numbers, or lists, as the rules for hints read them."""
    numbers = {name: each for name, each in columns.parameters.items() if name not in columns.labels}
    lengths = [_lengths(name, columns) for name in columns.labels]
    return Findings(
        parameters=numbers | dict(each for each in lengths if each is not None),
        value=columns.value,
        complete=columns.states == STATES.index(TrialState.COMPLETE),
        diverged=columns.states == STATES.index(TrialState.DIVERGED),
    )
