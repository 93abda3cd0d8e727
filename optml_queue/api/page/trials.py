"""The table of an experiment's trials, and one trial."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.installation import Here
from optml_queue.api.page.control import MESSAGES
from optml_queue.api.page.rendering import page
from optml_queue.api.routes.experiments import Id, experiment_of
from optml_queue.api.routes.results import chunks
from optml_queue.api.routes.trials import (
    MEASURED,
    PARAMETER,
    Number,
    Sort,
    TrialPage,
    list_trials,
    show_logs,
    show_trial,
)
from optml_queue.archive.kept import artifacts_folder
from optml_queue.errors import InputError, NotFoundError
from optml_queue.trial import TrialState

PER_PAGE = 50

router = APIRouter(prefix="/experiments/{id}/trials", include_in_schema=False)


@router.get("")
def table(
    request: Request,
    here: Here,
    id: Id,  # noqa: A002
    state: str = "",
    where: Annotated[str, Query(max_length=1_000)] = "",
    sort: str = "",
    descending: bool = False,
    number: Annotated[int, Query(alias="page", ge=1, le=10**7)] = 1,
    said: str = "",
) -> Response:
    """Trials, sorted, filtered and paged here, so that a browser never holds more than a page of them."""
    found = experiment_of(here, id)
    spec = json.loads(found.spec)
    chosen = TrialState(state) if state in tuple(TrialState) else None
    parameters = list(spec["parameters"])
    others = [metric["name"] for metric in spec.get("metrics", ())[1:]]
    names = (*Sort, *(PARAMETER + name for name in parameters), *(MEASURED + name for name in others))
    order = sort if sort in names else Sort.METRIC if chosen is None and found.finished else Sort.NUMBER
    conditions = [part.strip() for part in where.split(",") if part.strip()]
    message, status = "", HTTPStatus.OK
    try:
        listed = list_trials(found.id, here, chosen, conditions, order, descending, (number - 1) * PER_PAGE, PER_PAGE)
    except InputError as error:
        listed = TrialPage(trials=[], total=0, covered=found.finished, finished=found.finished)
        message, status = str(error).removeprefix("where: "), HTTPStatus.UNPROCESSABLE_ENTITY

    def link(**changes: object) -> str:
        asked = {"state": chosen or "", "where": where, "sort": order, "descending": descending, "page": 1} | changes
        return f"/experiments/{quote(found.id)}/trials?{urlencode({k: v for k, v in asked.items() if v})}"

    return page(
        request,
        "trials.html",
        status=status,
        experiment=found,
        is_archived=isinstance(found, ArchivedExperiment),
        listed=listed,
        parameters=parameters,
        others=others,
        state=chosen,
        where=where,
        sort=order,
        descending=descending,
        link=link,
        page_link=lambda n: link(page=n),
        number=number,
        pages=max(1, -(-listed.total // PER_PAGE)),
        problem=message,
        message=MESSAGES.get(said, ""),
    )


@router.get("/{number}")
def show(request: Request, here: Here, id: Id, number: Number, said: str = "") -> Response:  # noqa: A002
    """One trial: its parameters, attempts, logs, curve and files."""
    found = experiment_of(here, id)
    return page(
        request,
        "trial.html",
        experiment=found,
        is_archived=isinstance(found, ArchivedExperiment),
        trial=show_trial(found.id, number, here),
        written=show_logs(found.id, number, here, 0),
        checkpoints=[key.rpartition("/")[2] for key in here.archive.keys(f"{found.id}/checkpoints/{number}")],
        message=MESSAGES.get(said, ""),
    )


@router.get("/{number}/artifacts/{name:path}")
def artifact(here: Here, id: Id, number: Number, name: str) -> Response:  # noqa: A002
    """A file that a trial made. Only what the archive lists there is opened."""
    found = experiment_of(here, id)
    folder = artifacts_folder(found.id, number)
    key = f"{folder}/{name}"
    if key not in set(here.archive.keys(folder)):
        raise NotFoundError(f"trial {number} of {found.id} has no such file")
    filename = quote(name.rpartition("/")[2])
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{filename}"}
    return StreamingResponse(chunks(here.archive.open(key)), media_type="application/octet-stream", headers=headers)
