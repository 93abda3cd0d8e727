"""Data sets in the archive, by their content: every worker reads exactly what the client read.

So workers need no access to where the data came from, and what lies at an s3:// address may change later.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from optml_queue.archive import Archive
from optml_queue.archive.directory import writing
from optml_queue.data import DataSpec, find_file, load
from optml_queue.errors import ArchiveError, DataError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


def key_of(digest: str) -> str:
    """Where the data set with this SHA-256 lies. Raises ArchiveError when it is not 64 lower-case digits."""
    if not _DIGEST.fullmatch(digest):
        raise ArchiveError(f"{digest[:80]!r} is not a data set's digest: expected 64 hexadecimal digits")
    return f"data/{digest}"


def bring(archive: Archive, data: DataSpec, cache_dir: Path | None = None) -> DataSpec:
    """Put the file that data are read from into the archive; returns the data with its digest.

    Nothing happens to data that come with the package, or that have a digest already. The data are read once before,
    so that what cannot be used is said by the client (DataError). What it downloads and prepares stays in `cache_dir`.
    """
    if data.digest:
        return data
    with tempfile.TemporaryDirectory(prefix="optml-data-") as folder:
        get = partial(download, cache_dir=cache_dir or Path(folder))
        path = find_file(data, get, cache_dir)
        if path is None:
            return data
        load(data, get, cache_dir)
        return replace(data, digest=upload(archive, path))


def upload(archive: Archive, path: Path) -> str:
    """Put a file into the archive unless it is there already; returns its SHA-256.

    Raises DataError when the file cannot be read. It is copied first: a file that changes meanwhile would
    otherwise lie under another content's digest.
    """
    with tempfile.TemporaryDirectory(prefix="optml-data-") as folder:
        copy = Path(folder) / "data"
        try:
            with path.open("rb") as source, copy.open("wb") as target:
                digest = _copy(source, target)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        key = key_of(digest)
        if not archive.exists(key):
            archive.put_file(key, copy)
    return digest


def fetch(archive: Archive, digest: str, cache_dir: Path) -> Path:
    """The data set's file in `cache_dir`, downloaded when it is not there. Its content has this digest.

    Raises ArchiveError when the archive has no such data set, or a damaged one. Several processes may fetch
    the same one at once.
    """
    key = key_of(digest)
    path = cache_dir / digest
    if _digest_of(path) == digest:
        return path
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with archive.open(key) as source, writing(path) as target:
            if _copy(source, target) != digest:
                raise ArchiveError(f"the archive {archive.url}: {key} is damaged; delete it and submit again")
    except OSError as error:
        raise ArchiveError(f"cannot keep {key} in {cache_dir}: {error.strerror or error}") from error
    return path


def download(address: str, cache_dir: Path) -> Path:
    """What lies at `s3://bucket/key`, as a file of that name below `cache_dir`; loaded again when it has changed.

    Raises DataError when there is nothing, or it may not be read, and UnreachableError when S3 does not answer.
    """
    from optml_queue.archive.s3 import S3Archive

    bucket, _, key = address.removeprefix("s3://").partition("/")
    store = S3Archive(bucket, what="the bucket")
    try:
        version = hashlib.sha256(f"{address} {store.tag(key)}".encode()).hexdigest()[:32]
        path = cache_dir / "s3" / version / key.rpartition("/")[2]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.open(key) as source, writing(path) as target:
                _copy(source, target)
    except ArchiveError as error:
        raise DataError(f"{address}: {error}") from error
    except OSError as error:
        raise DataError(f"{address}: cannot be kept in {cache_dir}: {error.strerror or error}") from error
    return path


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy all that is left of `source`; returns its SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    """The SHA-256 of a file; "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
