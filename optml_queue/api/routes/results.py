"""/api/v1/experiments/{id}/results.csv and .jsonl: all trials as a table, streamed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO, cast

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from optml_queue.api.installation import Here, Installation
from optml_queue.api.routes.experiments import PREFIX, Id, experiment_of
from optml_queue.errors import ArchiveError
from optml_queue.export import export
from optml_queue.store import Experiment

CHUNK_BYTES = 1 << 18
router = APIRouter(prefix=PREFIX, tags=["results"])


class Form(StrEnum):
    """The formats of a table."""

    CSV = "csv"
    JSONL = "jsonl"


MEDIA_TYPES = {Form.CSV: "text/csv", Form.JSONL: "application/jsonl"}


@router.get(
    "/{id}/results.{form}",
    response_class=StreamingResponse,
    responses={200: {"description": "The table", "content": {media_type: {} for media_type in MEDIA_TYPES.values()}}},
)
def results(id: Id, form: Form, here: Here) -> StreamingResponse:  # noqa: A002
    """Download every trial, in the order of numbers; the same table as `optml export` writes."""
    found = experiment_of(here, id)
    return StreamingResponse(
        chunks(_table(here, found, form)),
        media_type=MEDIA_TYPES[form],
        # An id has letters, digits, dots, - and _ only: nothing in it could end the quotes.
        headers={"Content-Disposition": f'attachment; filename="{found.id}.{form}"'},
    )


def _table(here: Installation, found: Experiment, form: Form) -> BinaryIO:
    """The table as a file: the archive's own when it shows how the experiment ended, else one written now."""
    if found.is_consolidated:
        try:
            return here.archive.open(f"{found.id}/results.{form}")
        except ArchiveError:
            pass  # somebody removed it; the store has all that it had
    # A table's columns are known once all trials were read, so it goes through a file, not through memory.
    table = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 -- `chunks` closes it
    parameters = list(json.loads(found.spec)["parameters"])
    export(here.reader(found).stream(found.id), form, table, parameters, [found.metric])
    table.seek(0)
    return table


def chunks(table: BinaryIO) -> Iterator[bytes]:
    """A file piece by piece; closes it."""
    with table:
        while chunk := table.read(CHUNK_BYTES):
            yield chunk
