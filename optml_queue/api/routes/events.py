"""/api/v1/experiments/{id}/events: what happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from optml_queue.api.installation import Here
from optml_queue.api.routes.experiments import PREFIX, Id, stored

router = APIRouter(prefix=PREFIX, tags=["events"])

MEDIA_TYPE = "text/event-stream"
Position = Annotated[
    int | None,
    Query(ge=0, le=2**53, description="Begin at this position of the log of finished trials; default: now."),
]


EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "A position in the log of finished trials."},
        "event": {"enum": ["experiment", "trials", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = MEDIA_TYPE


@router.get(
    "/{id}/events",
    response_class=EventStream,
    responses={200: {"description": "Events: experiment, trials, end", "content": {MEDIA_TYPE: {"schema": EVENT}}}},
)
async def follow(
    id: Id,  # noqa: A002
    here: Here,
    since: Position = None,
    last_event_id: Annotated[
        str, Header(pattern=r"^[0-9]{0,15}$", description="Where a stream that was cut goes on.")
    ] = "",
) -> EventStream:
    """Follow an experiment live.

    `experiment` carries what the list of experiments shows of it, whenever that changes; `trials` a list of trials
    that finished; `end` says that it is over. The id of an event is a position in the log of finished trials.
    Nothing happens to an experiment that only the archive has (409).
    """
    found = await run_in_threadpool(stored, here, id)
    position = int(last_event_id) if last_event_id else since
    events = await here.feeds.stream(found, position)
    return EventStream(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
