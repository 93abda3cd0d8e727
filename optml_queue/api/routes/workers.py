"""/api/v1/workers: who lives, and what each is doing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here

router = APIRouter(prefix="/api/v1/workers", tags=["workers"])


class WorkerDocument(Document):
    """A living worker. `experiment`, `number` and `since` say what it runs; `idle_s` how long it has found nothing."""

    name: str
    resource_class: str
    host: str | None = None
    pid: int | None = None
    started_at: float | None = None
    experiment: str | None = None
    number: int | None = None
    since: float | None = None
    idle_s: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class WorkerList(Document):
    """The living workers, by name."""

    workers: list[WorkerDocument]


@router.get("")
def list_workers(here: Here) -> WorkerList:
    """List the living workers."""
    return WorkerList(workers=[_document(worker.name, worker.facts) for worker in here.store.workers()])


def _document(name: str, facts: Any) -> WorkerDocument:
    known = {key: value for key, value in facts.items() if key in WorkerDocument.model_fields}
    return WorkerDocument(**{**known, "name": name, "resource_class": str(facts.get("class", ""))})
