"""The archive: the durable copy of experiments, for people and for other programs.

A document is bytes under a key such as `lms-7f3a/results.csv`. Directories and S3 have the same layout:

    data/<sha256>                                  data sets, by their content
    programs/<sha256>                              users' programs and the files of commands, packed, by their content
    earlier/<sha256>                               what experiments took over from earlier ones, by its content
    <experiment>/spec.yaml                         the spec, every default filled in
    <experiment>/experiment.json                   the experiment as it was submitted
    <experiment>/parts/<first>-<last>-<digest>.jsonl    finished trials while it runs, in order of finishing
    <experiment>/results.csv, results.jsonl        every trial, in order of number
    <experiment>/attempts.jsonl, logs/<number>.txt failed attempts; lines the trials logged
    <experiment>/logs/<number>-<attempt>.txt       what an attempt wrote to stdout and stderr
    <experiment>/artifacts/<number>/, checkpoints/<number>/    what trials made; where another attempt would go on
    <experiment>/summary.json, provenance.json, error.png, contour.png, pareto.png
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from optml_queue.errors import ArchiveError, SettingsError, without_password

__all__ = ["Archive", "checked_folder", "checked_key", "open_archive"]


class Archive(Protocol):
    """What every archive promises; `tests/contracts/test_archive_contract.py` holds each one to it.

    Writes are atomic: a key names a whole document or none, whatever happens to the writer. The last writer
    of a key wins. Keys that could leave the archive are refused with ArchiveError. Each method raises
    UnreachableError when the archive does not answer and ArchiveError when it refuses; both name `url`.
    """

    @property
    def url(self) -> str:
        """Where the archive is, as it may be shown: no password, no key."""

    def put(self, key: str, body: bytes) -> None:
        """Write a document, replacing the one that has this key."""

    def put_file(self, key: str, path: Path) -> None:
        """Write a document out of a local file, in constant memory."""

    def get(self, key: str) -> bytes:
        """The whole document. Raises ArchiveError when there is none."""

    def open(self, key: str) -> BinaryIO:
        """The document as a local binary file, in constant memory. Raises ArchiveError when there is none."""

    def exists(self, key: str) -> bool:
        """Whether a document has this key."""

    def keys(self, folder: str = "") -> Iterator[str]:
        """The keys below `folder` (`lms-1` is no part of `lms-10`), in ascending order; "" means all."""

    def children(self, folder: str = "") -> Iterator[str]:
        """The names directly below `folder`, documents and folders, in ascending order."""

    def delete(self, folder: str) -> int:
        """Remove the document of this key and all below it; returns how many there were."""

    def check(self) -> None:
        """Raises UnreachableError within 10 s when the archive does not answer or may not be read.

        Whether it may be written shows at the first write.
        """


def open_archive(url: str) -> Archive:
    """The archive at `url`: a directory's path, `file:///path`, or `s3://bucket/prefix`.

    S3 takes the usual AWS settings (AWS_ENDPOINT_URL_S3, AWS_PROFILE, AWS_REGION and so on). Nothing is read
    or written yet: `check` does that. Raises SettingsError when the URL names no archive.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _open_directory(url)
    openers = {"file": _open_file_url, "s3": _open_s3}
    opener = openers.get(scheme.lower())
    if opener is None:
        raise SettingsError(
            f"archive {without_password(url)!r}: unknown scheme {scheme!r}; "
            "give a directory's path, file:///path or s3://bucket/prefix"
        )
    return opener(url)


def _open_directory(path: str) -> Archive:
    from optml_queue.archive.directory import DirectoryArchive

    if not path.strip() or "\0" in path:
        raise SettingsError(f"archive {path!r}: not a path; give a directory's path or s3://bucket/prefix")
    return DirectoryArchive(Path(path).expanduser())


def _open_file_url(url: str) -> Archive:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise SettingsError(f"archive {without_password(url)!r}: a file URL has three slashes, file:///path")
    return _open_directory(unquote(parts.path))


def _open_s3(url: str) -> Archive:
    # boto3 takes a fifth of a second to import; a directory should not pay for it.
    from optml_queue.archive.s3 import S3Archive

    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise SettingsError(
            f"archive {without_password(url)!r}: write s3://bucket/prefix; "
            "credentials and endpoint come from the usual AWS settings"
        )
    return S3Archive(parts.netloc, unquote(parts.path).strip("/"))


# A segment that starts with a dot is refused: it would be hidden, could climb out, or pose as a temporary.
_SEGMENT = re.compile(r"[^./\\\x00-\x1f\x7f-\x9f\ud800-\udfff][^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
_MAX_KEY_BYTES = 900  # S3 allows 1,024 with the prefix
_MAX_SEGMENT_BYTES = 200  # file systems allow 255, and a temporary's name is longer than its document's


def checked_key(key: str) -> str:
    """The key itself when it is a safe relative path. Raises ArchiveError otherwise."""
    segments = key.split("/")
    safe = all(_SEGMENT.fullmatch(s) and len(s.encode()) <= _MAX_SEGMENT_BYTES for s in segments)
    if not safe or len(key.encode(errors="replace")) > _MAX_KEY_BYTES:
        raise ArchiveError(
            f"{key[:100]!r} cannot be a document's key: segments between single slashes must be 1 to "
            f"{_MAX_SEGMENT_BYTES} bytes without control characters or backslashes, and not start with a dot"
        )
    return key


def checked_folder(folder: str) -> str:
    """`folder` as a safe prefix of keys, ending in a slash; "" stays "". Raises ArchiveError."""
    return f"{checked_key(folder.removesuffix('/'))}/" if folder else ""
