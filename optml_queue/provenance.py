"""What an experiment was made with: versions, machine, source, digests of algorithm and data."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optml_queue import __version__

if TYPE_CHECKING:
    from optml_queue.spec import Spec


def facts(spec: Spec) -> dict[str, Any]:
    """What is submitted, and what with, in short: it stays with the experiment in the store. A JSON object."""
    return {
        spec.code.kind: {"name": spec.code.name, "digest": _code_digest(spec)},
        "data": None if spec.data is None else spec.data.to_dict(),
        "optml_queue": __version__,
        "python": platform.python_version(),
        "host": platform.node(),
    }


def _code_digest(spec: Spec) -> str:
    """Of an algorithm's source files; of a program or a command's files, the SHA-256 that they have in the archive."""
    from optml_queue.spec import Algorithm

    return spec.driver.digest if isinstance(spec.code, Algorithm) else spec.code.digest


@cache
def surroundings() -> dict[str, Any]:
    """The versions, machine and source of this process, looked up once. A JSON object."""
    return {
        "python": platform.python_version(),
        "packages": packages(),
        "machine": machine(),
        "source": checkout(Path.cwd()),
    }


def packages() -> dict[str, str]:
    """Every installed distribution and its version, by name."""
    found = [each.metadata for each in metadata.distributions()]  # parsed anew at each look
    return {each["Name"]: each["Version"] for each in sorted(found, key=lambda each: each["Name"].lower())}


def machine() -> dict[str, Any]:
    """The machine this runs on; `cpus` are those this process may use."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "architecture": platform.machine(),
        "cpus": _cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def checkout(folder: Path) -> str | None:
    """The commit of `folder`'s checkout, ending in `-dirty` when files differ; None outside of git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
