"""Programs, and the files of commands, in the archive: packs by their content. Workers run what was submitted."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from threading import Lock

from optml_queue.archive import Archive
from optml_queue.errors import ArchiveError, DriverError
from optml_queue.pack import digest_of, pack, unpack

FOLDER = "programs"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_fetch_lock = Lock()


def key_of(digest: str) -> str:
    """Where the pack with this SHA-256 lies. Raises ArchiveError when it is not 64 lower-case digits."""
    if not _DIGEST.fullmatch(digest):
        raise ArchiveError(f"{digest[:80]!r} is not a program's digest: expected 64 hexadecimal digits")
    return f"{FOLDER}/{digest}"


def upload(archive: Archive, path: Path) -> str:
    """Pack a file or folder and put it into the archive unless it is there already; returns its SHA-256.

    Raises DriverError when it cannot be packed.
    """
    body = pack(path)
    digest = digest_of(body)
    key = key_of(digest)
    if not archive.exists(key):
        archive.put(key, body)
    return digest


def fetch(archive: Archive, digest: str, cache_dir: Path) -> Path:
    """The folder below `cache_dir` with the unpacked files, brought there when it is missing or was changed.

    Raises ArchiveError when the archive has no such pack, or a damaged one. Several processes may fetch the same one
    at once.
    """
    key = key_of(digest)
    folder = cache_dir / FOLDER / digest
    with _fetch_lock:
        if _is_whole(folder, digest):
            return folder
        body = archive.get(key)
        if digest_of(body) != digest:
            raise ArchiveError(f"the archive {archive.url}: {key} is damaged; delete it and submit again")
        try:
            _place(body, folder)
        except DriverError as error:
            raise ArchiveError(f"the archive {archive.url}: {key}: {error}") from error
        except OSError as error:
            if not _is_whole(folder, digest):  # another process was first
                raise ArchiveError(f"cannot keep {key} in {cache_dir}: {error.strerror or error}") from error
    return folder


def _is_whole(folder: Path, digest: str) -> bool:
    """Whether the folder holds what its digest says: packing it again tells."""
    try:
        return digest_of(pack(folder)) == digest
    except (DriverError, OSError):
        return False


def _place(body: bytes, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as temporary:
        whole, changed = Path(temporary) / "whole", Path(temporary) / "changed"
        whole.mkdir()
        unpack(body, whole)
        if folder.exists():
            shutil.move(folder, changed)
        whole.rename(folder)
