"""What the attempts of a trial keep in the archive: where it lies, and how it is brought back.

The layout:

    <experiment>/checkpoints/<number>/<attempt>-<n>.npz    the last two of a trial
    <experiment>/artifacts/<number>/<name>                 what it made: a trained model
    <experiment>/logs/<number>-<attempt>.txt               what an attempt wrote to stdout and stderr

An attempt that is overtaken may still write; its keys are its own, but for artifacts, which are the trial's.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from optml_queue.archive import Archive
from optml_queue.archive.directory import writing
from optml_queue.errors import ArchiveError

_CHECKPOINT = re.compile(r"[^/]+/checkpoints/(\d+)/(\d{1,9})-(\d{1,9})\.npz")
_OUTPUT = re.compile(r"[^/]+/logs/(\d+)-(\d+)\.txt")


def checkpoints_folder(experiment: str, number: int) -> str:
    """Where the checkpoints of a trial lie."""
    return f"{experiment}/checkpoints/{number}"


def checkpoint_key(experiment: str, number: int, attempt: int, count: int) -> str:
    """Where the checkpoint `count` of an attempt lies, counted from 1."""
    return f"{checkpoints_folder(experiment, number)}/{attempt}-{count}.npz"


def checkpoint_of(key: str) -> tuple[int, int, int] | None:
    """Number, attempt and count of the checkpoint that lies there; None for anything else."""
    found = _CHECKPOINT.fullmatch(key)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def age_of(key: str) -> tuple[int, int]:
    """Attempt and count of a checkpoint by its key: they ascend in the order of making. (0, 0) for anything else."""
    _number, attempt, count = checkpoint_of(key) or (0, 0, 0)
    return attempt, count


def artifacts_folder(experiment: str, number: int) -> str:
    """Where the artifacts of a trial lie."""
    return f"{experiment}/artifacts/{number}"


def output_key(experiment: str, number: int, attempt: int) -> str:
    """Where the output of an attempt lies."""
    return f"{experiment}/logs/{number}-{attempt}.txt"


def output_of(key: str) -> tuple[int, int] | None:
    """Number and attempt of the output that lies there; None for anything else."""
    found = _OUTPUT.fullmatch(key)
    return (int(found[1]), int(found[2])) if found else None


def output(archive: Archive, experiment: str, number: int, attempt: int) -> str:
    """What an attempt wrote; "" when nothing is kept of it. Raises UnreachableError."""
    try:
        return archive.get(output_key(experiment, number, attempt)).decode(errors="replace")
    except ArchiveError:
        return ""


def bring_artifacts(archive: Archive, experiment: str, number: int, folder: Path) -> list[Path]:
    """Copy a trial's artifacts below `folder`; the files written. Raises ArchiveError when one cannot be."""
    home = artifacts_folder(experiment, number)
    brought = []
    for key in archive.keys(home):
        path = folder / key.removeprefix(f"{home}/")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(key) as source, writing(path) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be written: {error.strerror or error}") from error
        brought.append(path)
    return brought
