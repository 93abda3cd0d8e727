"""The files that data are read from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from optml_queue.errors import DataError


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """What to tell about a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file; a relative path counts from the spec's folder")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder, not a file")
    return DataError(f"{path}: cannot be read: {error.strerror or error}")
