"""A program: the user's own Python code as a driver, without the files and declarations of an algorithm.

A file, or a folder with driver.py or train.py, that has

    def train(trial: ActiveTrial) -> Mapping[str, float]      the metric that the spec names, by its name

and may declare PARAMETERS, METRICS and DATA as an algorithm does (see `optml_queue.driver`); what it declares is
checked. Files of the folder import each other relatively or absolutely, as a script's would.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import RLock

from packaging.requirements import InvalidRequirement, Requirement

from optml_queue.driver import Driver, Metric, driver_of
from optml_queue.errors import DriverError
from optml_queue.pack import packed_files
from optml_queue.sources import SourcePackage

ENTRIES = ("driver.py", "train.py")
_DECLARATIONS = frozenset({"PARAMETERS", "METRICS", "DATA"})

_packages: dict[str, SourcePackage] = {}
_lock = RLock()


def entry_of(path: Path) -> str:
    """The file of a program that has `train`, by its name in the pack. Raises DriverError."""
    if path.is_file():
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise DriverError(f"{path}: a program is a Python file, named like train.py, or a folder with train.py")
        return path.name
    for name in ENTRIES:
        if (path / name).is_file():
            return name
    if not path.is_dir():
        raise DriverError(f"{path}: no such file or folder")
    raise DriverError(f"{path}: the folder has no {' and no '.join(ENTRIES)}")


def load_program(
    path: Path, entry: str, judged: Metric, requirements: Iterable[str] = (), *, may_run: bool = True
) -> Driver:
    """The driver of a program: `path` is its file or folder, `judged` the metric that the spec names.

    A program that declares nothing runs when `train` is first called, so that it can be submitted where its
    libraries are missing. One that declares something runs now, unless it may not: then what it declares is checked
    where it trains.
    Raises DriverError with file, line and rule for what is no program, and one that names the requirement which this
    machine lacks.
    """
    folder = path if path.is_dir() else path.parent
    sources = _read_sources(path)
    file = folder / entry
    if file not in sources:
        raise DriverError(f"{path}: has no {entry}")
    names = top_names(file, sources[file])
    if "train" not in names and "*" not in names:
        raise DriverError(f"{file}: train: must be a function train(trial), it is missing")
    program = _Program(folder, entry, sources, judged, tuple(requirements))
    return program.driver if may_run and names & _DECLARATIONS else program.lazy_driver()


class _Program:
    """The files of a program, and what they are to be checked against."""

    def __init__(
        self, folder: Path, entry: str, sources: Mapping[Path, bytes], judged: Metric, requirements: tuple[str, ...]
    ) -> None:
        self._folder = folder
        self._entry = entry
        self._sources = sources
        self._judged = judged
        self._requirements = requirements
        self._digest = _digest(folder, sources)

    @cached_property
    def driver(self) -> Driver:
        """The driver, once the program's files have run. Raises DriverError."""
        file = self._folder / self._entry
        for requirement in self._requirements:
            if problem := requirement_problem(requirement):
                raise DriverError(f"program {self._entry}: {problem}")
        with _lock:
            module = self._package().load(file.stem)
            driver = driver_of(module, file, self._entry, self._digest, self._judged)
        return replace(driver, kind="program")

    def lazy_driver(self) -> Driver:
        """A driver that has them run when it first trains."""
        return Driver(
            name=self._entry,
            path=self._folder,
            digest=self._digest,
            parameters={},
            metrics={self._judged.name: self._judged},
            data=(),
            train=lambda trial: self.driver.train(trial),
            other_parameters=True,
            kind="program",
        )

    def _package(self) -> SourcePackage:
        # Of place and content: versions, and copies, live side by side.
        mark = hashlib.sha256(f"{self._folder}\0{self._digest}".encode()).hexdigest()[:16]
        name = f"optml_program_{mark}"
        if name not in _packages:
            _packages[name] = SourcePackage(name, self._folder, self._sources, absolute=True)
        return _packages[name]


def _read_sources(path: Path) -> dict[Path, bytes]:
    try:
        return {file: file.read_bytes() for file in packed_files(path).values() if file.suffix == ".py"}
    except OSError as error:
        raise DriverError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _digest(folder: Path, sources: Mapping[Path, bytes]) -> str:
    digest = hashlib.sha256()
    for file, source in sources.items():
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()


def top_names(file: Path, source: bytes) -> frozenset[str]:
    """The names that a file defines at its top level; "*" among them when it imports all that a module has.

    Nothing of it runs. Raises DriverError with the line of a syntax error.
    """
    try:
        return frozenset(_bound(ast.parse(source, str(file))))
    except SyntaxError as error:
        raise DriverError(f"{file}:{error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DriverError(f"{file}: is not Python: {error}") from None


def _bound(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in child.names)
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        else:
            yield from _bound(child)


def requirement_problem(text: str) -> str:
    """What this machine lacks of a requirement such as `torch` or `torch>=2`; "" when it is there.

    A package goes by the name it is installed by, or by the name it is imported by.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"the requirement {text!r} is not the name of a package, as in torch or torch>=2"
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        if not requirement.specifier and requirement.name.isidentifier() and find_spec(requirement.name):
            return ""
        return f"this machine lacks the package {text} (requirements); install it where the workers run"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"this machine has {requirement.name} {found}, and {text} is required"
