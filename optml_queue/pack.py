"""A user's file or folder as one document, the same bytes for the same content, and back.

A tar archive without compression: names in order, no times, no owners. So its SHA-256 says what is in it, whoever
packed it and when. A folder's hidden files, compiled Python and results of experiments stay out.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from optml_queue.errors import DriverError

MAX_BYTES = 50 << 20
MAX_FILES = 10_000
_LEFT_OUT = ("__pycache__", "optml-results")
_BLOCK = 512
_EXTENDING = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# Links, devices and folders are told by their names later.
_KINDS = (*_EXTENDING, tarfile.REGTYPE, *(b"%d" % kind for kind in range(1, 7)))
_EXTENSION_MAX = 8 << 10  # bytes: names are far shorter
_EXTENSIONS_MAX = 4  # before one entry


def packed_files(path: Path) -> dict[str, Path]:
    """What a pack of `path` holds: the names inside it, in order, and where each lies. A file stands alone.

    A link to a file is packed as the file. Raises DriverError for what cannot be packed: nothing there, links to
    folders, more than 10,000 files.
    """
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise DriverError(f"{path}: no such file or folder")
    files = dict(sorted(_below(path)))
    if not files:
        raise DriverError(f"{path}: the folder is empty")
    return files


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    count = 0
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if _is_wanted(name)]
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise DriverError(f"{Path(place) / name}: is a link to a folder, which cannot be packed; copy it there")
        for name in filter(_is_wanted, names):
            path = Path(place) / name
            if not path.is_file():
                raise DriverError(f"{path}: is not a regular file, which cannot be packed")
            count += 1
            if count > MAX_FILES:
                raise DriverError(f"{folder}: has more than {MAX_FILES:,} files; large data belong under data:")
            yield path.relative_to(folder).as_posix(), path


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_OUT and not name.endswith(".pyc")


def _refuse(error: OSError) -> None:
    raise DriverError(f"{error.filename}: cannot be read: {error.strerror}") from error


def pack(path: Path) -> bytes:
    """The pack of a file or folder. Raises DriverError when there is none, or it is larger than 50 MiB."""
    files = packed_files(path)
    sizes = {name: file.stat().st_size for name, file in files.items()}
    if sum(sizes.values()) > MAX_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise DriverError(
            f"{path}: holds {sum(sizes.values()) >> 20} MiB, more than {MAX_BYTES >> 20} MiB (the largest file is "
            f"{largest}); large data belong under data:"
        )
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, file in files.items():
            _add(archive, name, file)
    return body.getvalue()


def _add(archive: tarfile.TarFile, name: str, file: Path) -> None:
    try:
        content = file.read_bytes()
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
        archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        _refuse(error)
    except UnicodeEncodeError:
        raise DriverError(f"{os.fsencode(file)!r}: a name must be UTF-8") from None


def digest_of(body: bytes) -> str:
    """The SHA-256 that a pack goes by."""
    return hashlib.sha256(body).hexdigest()


def unpack(body: bytes, folder: Path) -> None:
    """Write the files of a pack into an empty folder.

    A pack may come from anybody who can write to the archive: raises DriverError for names that lead out of the
    folder, for links and devices, and for more than a pack may hold.
    """
    unpack_tar(io.BytesIO(body), folder)


def unpack_tar(file: BinaryIO, folder: Path, *, pass_over_folders: bool = False) -> None:
    """Like `unpack`, for a tar archive that somebody else made, too: such a one may have entries for folders."""
    try:
        _check_headers(file)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            left = MAX_BYTES
            for count, entry in enumerate(archive):
                left -= entry.size
                if left < 0 or count >= MAX_FILES:
                    raise DriverError("the pack holds more than a pack may")
                if not (pass_over_folders and entry.isdir()):
                    _write(archive, entry, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DriverError(f"not a pack: {error}") from error


def _check_headers(file: BinaryIO) -> None:
    """Raises DriverError for headers that would lead `tarfile` astray, or have it work for hours.

    Namely: sizes that are negative, or said twice; headers that only extend others, long or in long chains; sparse
    files, and kinds that only some programs know. Entries are passed over as `tarfile` does it.
    """
    extensions = 0
    while len(header := file.read(_BLOCK)) == _BLOCK and header != bytes(_BLOCK):
        kind, digits = header[156:157], header[124:136].partition(b"\0")[0].strip()
        if kind not in _KINDS or not (digits or b"0").isdigit():
            raise DriverError("not a pack: it has entries of a kind that no pack has; make it with tar --format=ustar")
        size = int(digits or b"0", 8)
        extensions = extensions + 1 if kind in _EXTENDING else 0
        if kind in _EXTENDING:
            is_long = size > _EXTENSION_MAX or extensions > _EXTENSIONS_MAX
            said = b"" if is_long else file.read(size)
            if is_long or b" size=" in said or b"GNU.sparse" in said:
                raise DriverError("not a pack: it has headers that no pack has; make it with tar --format=ustar")
            file.seek(-size % _BLOCK, os.SEEK_CUR)
        elif kind == tarfile.REGTYPE:
            file.seek(size + -size % _BLOCK, os.SEEK_CUR)
    file.seek(0)


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    name = PurePosixPath(entry.name)
    safe = entry.isreg() and not name.is_absolute() and ".." not in name.parts and "\\" not in entry.name
    content = archive.extractfile(entry) if safe and name.parts else None
    if content is None:
        raise DriverError(f"the pack holds {entry.name[:100]!r}, which is no plain file inside it")
    target = folder.joinpath(*name.parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:  # "x": a name comes once, and is no link that an earlier entry made
            file.write(content.read())
    except (FileExistsError, NotADirectoryError):
        raise DriverError(f"the pack holds {entry.name[:100]!r} twice, or as a file and a folder") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DriverError(f"the pack holds {entry.name[:100]!r}…, a name that is too long") from None
        raise
    target.chmod(0o755 if entry.mode & 0o100 else 0o644)
