"""/api/v1/data: files for experiments, kept by their content."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.api.submission import UPLOAD
from optml_queue.archive import Archive
from optml_queue.archive.dataset import key_of
from optml_queue.errors import DataError

router = APIRouter(prefix="/api/v1/data", tags=["data"])

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself (curl --data-binary @series.csv), not a form.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}


class Upload(Document):
    """An uploaded file. A spec names it by its reference, as in `data: {csv: "upload:…", column: 1}`."""

    digest: str
    bytes: int
    reference: str


@router.post("", status_code=201, openapi_extra=BODY)
async def upload(request: Request, here: Here) -> Upload:
    """Upload a data file. The same content sent again is the same upload."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(prefix="optml-upload-") as folder:
        path = Path(folder) / "data"
        with path.open("wb") as file:
            async for chunk in request.stream():
                digest.update(chunk)
                size += len(chunk)
                await run_in_threadpool(file.write, chunk)
        if not size:
            raise DataError("the upload is empty: send the file as the body of the request")
        await run_in_threadpool(_keep, here.archive, digest.hexdigest(), path)
    return Upload(digest=digest.hexdigest(), bytes=size, reference=f"{UPLOAD}{digest.hexdigest()}")


def _keep(archive: Archive, digest: str, path: Path) -> None:
    key = key_of(digest)
    if not archive.exists(key):
        archive.put_file(key, path)
