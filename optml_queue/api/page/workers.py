"""Who works, and what there is to do."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from optml_queue.api.installation import Here
from optml_queue.api.page.rendering import page
from optml_queue.api.routes.backlog import list_backlog
from optml_queue.api.routes.workers import list_workers

router = APIRouter(include_in_schema=False)


@router.get("/workers")
def workers(request: Request, here: Here) -> Response:
    """Living workers and the backlog of each class."""
    listed = list_workers(here).workers
    return page(request, "workers.html", workers=listed, classes=list_backlog(here).classes, now=time.time())
