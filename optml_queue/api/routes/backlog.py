"""/api/v1/backlog: what there is to do for each class of workers. Autoscalers ask here."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.store import Backlog

router = APIRouter(prefix="/api/v1/backlog", tags=["backlog"])

ClassName = Annotated[str, Path(alias="class", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", examples=["default"])]


class BacklogDocument(Document):
    """What there is to do for one class of workers, in trials. `unpublished` are not in the queue yet."""

    model_config = ConfigDict(populate_by_name=True)

    resource_class: str = Field(alias="class")
    queued: int
    running: int
    unpublished: int
    total: int

    @classmethod
    def of(cls, name: str, backlog: Backlog) -> Self:
        return cls(
            resource_class=name,
            queued=backlog.queued,
            running=backlog.running,
            unpublished=backlog.unpublished,
            total=backlog.total,
        )


class BacklogList(Document):
    """The classes that have trials or workers, by name."""

    classes: list[BacklogDocument]


@router.get("")
def list_backlog(here: Here) -> BacklogList:
    """Show what there is to do for every class."""
    found = here.store.backlog()
    return BacklogList(classes=[BacklogDocument.of(name, found[name]) for name in sorted(found)])


@router.get("/{class}")
def show_backlog(name: ClassName, here: Here) -> BacklogDocument:
    """Show what there is to do for one class; nothing for one that nobody has heard of."""
    return BacklogDocument.of(name, here.store.backlog().get(name, Backlog()))
