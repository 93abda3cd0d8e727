"""Tables made ready: in memory, or, when they are large, in files that the processes of a machine share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from optml_queue.data.assembly import Assembly, assemble
from optml_queue.data.dataspec import DataSpec
from optml_queue.data.table import Split, Table
from optml_queue.errors import DataError

MAPPED_BYTES = 64 << 20  # tables whose inputs take more are memory-mapped
_KEPT_TABLES = 16
_FORMAT = 1  # to be raised when tables come out otherwise than before


def load_table(spec: DataSpec, find: Callable[[], Path], cache_dir: Path | None) -> Table:
    """The table of a spec with a digest; `find` gives the file with this content.

    A table that lies ready in `cache_dir` is taken from there, and the file is not needed. Raises DataError.
    """
    if cache_dir is None:
        return _in_memory(assemble(spec, find()), spec.digest)
    name = hashlib.sha256(f"{_FORMAT} {spec.content_key}".encode()).hexdigest()[:32]
    folder = cache_dir / "prepared" / name
    with _turn(folder):
        table = _mapped(folder)
        if table is not None:
            return table
        assembly = assemble(spec, find())
        if assembly.input_bytes <= MAPPED_BYTES:
            return _in_memory(assembly, spec.digest)
        try:
            _write(assembly, spec.digest, folder)
        except OSError as error:
            raise DataError(
                f"{cache_dir}: cannot keep the data as they are used, {assembly.input_bytes >> 20} MiB: "
                f"{error.strerror or error}; set OPTML_CACHE_DIR to a folder that can hold them"
            ) from error
        _make_room(folder)
        table = _mapped(folder)
    if table is None:
        raise DataError(f"{folder}: cannot be read again; remove it and try once more")
    return table


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Lets one process at a time prepare a table, so that the others find it ready.

    It only saves work: two that prepare one table at once do no harm.
    """
    lock = folder.with_suffix(".lock")
    try:
        import fcntl

        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (ImportError, OSError):
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _in_memory(assembly: Assembly, digest: str) -> Table:
    inputs = np.empty((assembly.rows, assembly.features), dtype=np.float32)
    start = 0
    for chunk in assembly.chunks():
        inputs[start : start + len(chunk)] = chunk
        start += len(chunk)
    return _table(inputs, assembly.targets, assembly.parts, assembly.classes, digest)


def _write(assembly: Assembly, digest: str, folder: Path) -> None:
    """Write the table's files and give them their name at the end, so that it stands for all or nothing."""
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        # Written, not mapped: a full disk is an error here, and the end of the process there.
        with (unfinished / "inputs.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (assembly.rows, assembly.features)}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in assembly.chunks():
                file.write(chunk.astype("<f4", copy=False).data)
            file.flush()
            os.fsync(file.fileno())
        np.save(unfinished / "targets.npy", assembly.targets)
        facts = {"parts": assembly.parts, "classes": assembly.classes, "digest": digest}
        (unfinished / "table.json").write_text(json.dumps(facts), encoding="utf-8")
        _put(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put(unfinished: Path, folder: Path) -> None:
    """Give a whole table its name, unless another process came first with one that can be read."""
    try:
        unfinished.rename(folder)
    except OSError:
        if _mapped(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)


def _make_room(kept: Path) -> None:
    """Remove the tables that were not used for longest. Processes that have them mapped go on as before."""
    with suppress(OSError):  # others may be at it too
        folders = [folder for folder in kept.parent.iterdir() if folder.is_dir() and folder != kept]
        folders.sort(key=lambda folder: folder.stat().st_mtime)
        for folder in folders[: max(0, len(folders) + 1 - _KEPT_TABLES)]:
            shutil.rmtree(folder, ignore_errors=True)


def _mapped(folder: Path) -> Table | None:
    """The table that lies in a folder; None when there is none, or not a whole one."""
    try:
        facts = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        inputs = np.load(folder / "inputs.npy", mmap_mode="r")
        targets = np.load(folder / "targets.npy", allow_pickle=False)
        parts = tuple(facts["parts"])
        if not sum(parts) == len(inputs) == len(targets):
            return None
        with suppress(OSError):
            os.utime(folder)  # used now
        return _table(np.asarray(inputs), targets, parts, tuple(facts["classes"]), facts["digest"])
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def _table(inputs: Any, targets: Any, parts: tuple[int, ...], classes: tuple[str, ...], digest: str) -> Table:
    for values in (inputs, targets):
        values.flags.writeable = False
    train, validation, _test = parts
    ends = (0, train, train + validation, len(targets))
    splits = [Split(inputs[start:end], targets[start:end]) for start, end in pairwise(ends)]
    return Table(splits[0], splits[1], splits[2], classes, digest)
