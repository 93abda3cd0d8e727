"""What experiments take over from earlier ones, in the archive by its content: it outlives those that it came from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from optml_queue.archive import Archive
from optml_queue.errors import ArchiveError

FOLDER = "earlier"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(digest: str) -> str:
    """Where the document with this SHA-256 lies. Raises ArchiveError when it is not 64 lower-case digits."""
    if not _DIGEST.fullmatch(digest):
        raise ArchiveError(f"{digest[:80]!r} is no digest of earlier results: expected 64 hexadecimal digits")
    return f"{FOLDER}/{digest}"


def keep(archive: Archive, path: Path) -> str:
    """Put a file into the archive unless it is there already; returns its SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not archive.exists(key_of(digest)):
        archive.put_file(key_of(digest), path)
    return digest


def opened(archive: Archive, digest: str) -> BinaryIO:
    """The document of this digest as a local binary file. Raises ArchiveError when there is none, or a damaged one."""
    key = key_of(digest)
    file = archive.open(key)
    if hashlib.file_digest(file, "sha256").hexdigest() != digest:  # type: ignore[arg-type]  # wants a readinto method
        file.close()
        raise ArchiveError(f"the archive {archive.url}: {key} is damaged; submit the experiment again under another id")
    file.seek(0)
    return file
