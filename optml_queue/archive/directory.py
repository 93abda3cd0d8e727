"""An archive in a directory of this machine, or of a file system many machines share."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from optml_queue.archive import checked_folder, checked_key
from optml_queue.errors import ArchiveError, UnreachableError

_TEMPORARY_SUFFIX = ".tmp"
# Nobody writes one document for longer: an older temporary was left by a writer that died.
_ABANDONED_AFTER_S = 3600.0


class DirectoryArchive:
    """Documents as files below `root`, which is created by the first write.

    A document is written beside its final name, forced to the disk, and renamed: whatever happens, the old
    one or the new one is there. Names that start with a dot are no documents.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._swept: set[Path] = set()

    @property
    def url(self) -> str:
        """The directory's absolute path."""
        return str(self.root)

    def put(self, key: str, body: bytes) -> None:
        """Write a document, replacing the one that has this key."""
        with self._writing(key) as file:
            file.write(body)

    def put_file(self, key: str, path: Path) -> None:
        """Write a document out of a local file."""
        with path.open("rb") as source, self._writing(key) as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def get(self, key: str) -> bytes:
        """The whole document. Raises ArchiveError when there is none."""
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """The document's file, open for reading. Raises ArchiveError when there is none."""
        try:
            return (self.root / checked_key(key)).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ArchiveError(f"the archive {self.url} has no {key}") from None
        except OSError as error:
            raise self._refused("read", key, error) from error

    def exists(self, key: str) -> bool:
        """Whether a document has this key."""
        return (self.root / checked_key(key)).is_file()

    def keys(self, folder: str = "") -> Iterator[str]:
        """The keys below `folder` in ascending order."""
        yield from self._walk(checked_folder(folder))

    def children(self, folder: str = "") -> Iterator[str]:
        """The names directly below `folder`, documents and folders, in ascending order."""
        prefix = checked_folder(folder)
        yield from sorted(entry.name for entry in self._entries(prefix) if not _is_empty_folder(entry))

    def delete(self, folder: str) -> int:
        """Remove the document of this key and all below it; returns how many there were."""
        path = self.root / checked_key(folder.removesuffix("/"))
        try:
            if path.is_dir() and not path.is_symlink():
                count = sum(1 for _ in self._walk(checked_folder(folder)))
                shutil.rmtree(path)
                self._swept.clear()
                return count
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            raise self._refused("delete", folder, error) from error
        return 1

    def check(self) -> None:
        """Raises UnreachableError when documents could not be read here, or the directory not be made."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not existing.is_dir():
            raise UnreachableError("the archive", self.url, f"{existing} is not a directory")
        needed = os.R_OK | os.X_OK if existing == self.root else os.W_OK | os.X_OK
        if not os.access(existing, needed):
            raise UnreachableError("the archive", self.url, f"no permission to use {existing}")

    @contextmanager
    def _writing(self, key: str) -> Iterator[BinaryIO]:
        path = self.root / checked_key(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(path.parent)
            with writing(path) as file:
                yield file
        except OSError as error:
            raise self._refused("write", key, error) from error

    def _sweep(self, folder: Path) -> None:
        """Remove, once per folder and archive object, what writers that died left behind."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        oldest = time.time() - _ABANDONED_AFTER_S
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(_TEMPORARY_SUFFIX):
                with suppress(FileNotFoundError):  # another process sweeps too
                    if entry.stat().st_mtime < oldest:
                        Path(entry.path).unlink()

    def _walk(self, prefix: str) -> Iterator[str]:
        # Keys ascend as whole texts, so a folder is sorted as the slash that follows its name.
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in self._entries(prefix))
        for name in names:
            if name.endswith("/"):
                yield from self._walk(prefix + name)
            else:
                yield prefix + name

    def _entries(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / prefix) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._refused("list", prefix, error) from error

    def _refused(self, verb: str, key: str, error: OSError) -> ArchiveError:
        reason = error.strerror or type(error).__name__
        return ArchiveError(f"the archive {self.url}: cannot {verb} {key}: {reason}")


def _is_empty_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir():
        return False
    with os.scandir(entry.path) as inside:
        return not any(not each.name.startswith(".") for each in inside)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under `path`, whole and on the disk, when the block ends without an error.

    Raises OSError. A process killed within the block leaves `.<name>.<random>.tmp` beside `path`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk; some network file systems cannot, and refuse harmlessly."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
