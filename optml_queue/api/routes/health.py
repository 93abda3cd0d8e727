"""/healthz and /readyz: for whoever restarts processes and sends them traffic."""

from __future__ import annotations

from fastapi import APIRouter

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here

router = APIRouter(tags=["health"])


class Health(Document):
    """All is well; anything else is a problem document."""

    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives. Asks nothing of anybody."""
    return Health()


@router.get("/readyz")
def readyz(here: Here) -> Health:
    """The store answers, so requests can be served."""
    here.store.ping()
    return Health()
