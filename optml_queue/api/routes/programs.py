"""/api/v1/programs: users' programs and the files of commands, kept by their content. Nothing of them runs here."""

from __future__ import annotations

import tempfile
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from optml_queue.api.documents import Document
from optml_queue.api.installation import Here
from optml_queue.api.problems import ApiError
from optml_queue.api.submission import NOT_ALLOWED, UPLOAD
from optml_queue.archive import Archive, program
from optml_queue.errors import DriverError
from optml_queue.pack import packed_files, unpack_tar

router = APIRouter(prefix="/api/v1/programs", tags=["programs"])

NAMES_MAX = 100  # of the files told back
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A tar archive, not compressed (tar -cf - -C my_program . | curl --data-binary @-).",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}
# A pack is in memory while it is made: one at a time.
_packing = Lock()


class Pack(Document):
    """An uploaded program, or the files of a command. A spec names it by its reference, as in `program: "upload:…"`.

    `files` are the first hundred names of `count` in it: hidden files, compiled Python and results of experiments are
    left out. What else is in the archive does not count: the same files are the same pack.
    """

    digest: str
    reference: str
    count: int
    files: list[str]


@router.post("", status_code=201, openapi_extra=BODY)
async def upload(request: Request, here: Here) -> Pack:
    """Upload a program or the files of a command. For operators, where the installation allows programs."""
    if not here.settings.allow_programs:
        raise ApiError(HTTPStatus.FORBIDDEN, f"a program {NOT_ALLOWED}")
    with tempfile.TemporaryDirectory(prefix="optml-upload-") as folder:
        path = Path(folder) / "tar"
        with path.open("wb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
        return await run_in_threadpool(_kept, here.archive, path, Path(folder) / "files")


def _kept(archive: Archive, tar: Path, folder: Path) -> Pack:
    """Put what a tar archive holds into the archive as a pack. Raises DriverError for what no pack may hold."""
    folder.mkdir()
    with _packing:
        with tar.open("rb") as file:
            unpack_tar(file, folder, pass_over_folders=True)
        try:
            names = list(packed_files(folder))
            digest = program.upload(archive, folder)
        except DriverError as error:
            # Where it lay on the server is nobody's business.
            raise DriverError(str(error).replace(str(folder), "the upload")) from None
    return Pack(digest=digest, reference=f"{UPLOAD}{digest}", count=len(names), files=names[:NAMES_MAX])
