"""The driver contract: what an algorithm declares, what it is given, what it returns.

An algorithm is a folder with two files. `functions.py` holds pure functions (generate data, initialise,
train, test error). `driver.py` oversees one configuration and declares, at module level:

    PARAMETERS: tuple[Parameter, ...]            names, types, defaults, bounds
    METRICS:    tuple[Metric, ...]               the first is the default one
    DATA:       tuple[str, ...]                  kinds of data it takes; the first is the default
    def train(trial: ActiveTrial) -> Mapping[str, float]      every declared metric by name
    def cost(params: Params, rows: int) -> float              optional: relative work of a point

Loading a driver runs both files, so they import heavy libraries inside the functions that need them. They
import each other, and files beside them, relative to the folder: `from .functions import initialise`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

from optml_queue.errors import AttemptEndedError, DriverError
from optml_queue.trial import Params, ParamValue

T = TypeVar("T")

PARAMETER_KINDS = (bool, int, float, str, list)
# Columns of results.csv beside the parameters and the metrics, which therefore cannot go by these names.
RESULT_COLUMNS = (
    "number",
    "seed",
    "state",
    "reason",
    "error",
    "attempts",
    "worker",
    "queued_at",
    "started_at",
    "finished_at",
    "wait_s",
    "run_s",
)


class Goal(StrEnum):
    """Whether the best value of a metric is its smallest or its largest."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure a trial is judged by."""

    name: str
    goal: Goal = Goal.MINIMIZE
    help: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One hyper-parameter as a driver declares it. A default of None means that the spec must give it.

    `minimum` and `maximum` are allowed values themselves, `above` is not. Numbers only; all must be finite.
    """

    name: str
    kind: type
    default: ParamValue | None = None
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[ParamValue, ...] = ()

    def problem(self, value: object) -> str:
        """Which rule a value breaks, as the end of a sentence about it; "" when it may be used."""
        if not _is_of_kind(value, self.kind):
            return f"must be {_KIND_WORDS[self.kind]}, got {value!r}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}, got {value!r}"
        if isinstance(value, int | float) and self.kind is not bool:
            return self._range_problem(value)
        return ""

    def _range_problem(self, value: float) -> str:
        if not math.isfinite(value):
            return f"must be finite, got {value!r}"
        if self.minimum is not None and value < self.minimum:
            return f"must be >= {self.minimum:g}, got {value!r}"
        if self.above is not None and value <= self.above:
            return f"must be > {self.above:g}, got {value!r}"
        if self.maximum is not None and value > self.maximum:
            return f"must be <= {self.maximum:g}, got {value!r}"
        return ""


_KIND_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}


def _is_of_kind(value: object, kind: type) -> bool:
    if isinstance(value, bool):  # Python counts it among the integers
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


@dataclass(frozen=True, slots=True)
class Driver:
    """A loaded algorithm. `digest` is the SHA-256 of its source files, sorted by name."""

    name: str
    path: Path
    digest: str
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    data: tuple[str, ...]
    train: Callable[[ActiveTrial], Mapping[str, float]]
    cost: Callable[[Params, int], float] | None = None

    def complete(self, params: Params) -> Params:
        """The parameters of a point and the defaults of all others; lists are copies."""
        defaults = {p.name: p.default for p in self.parameters.values() if p.default is not None}
        return {name: _copied(value) for name, value in (defaults | params).items()}


def _copied(value: ParamValue) -> ParamValue:
    return [_copied(item) for item in value] if isinstance(value, list) else value


class Order(StrEnum):
    """What the store tells a running attempt."""

    OK = "ok"
    STOP = "stop"  # early stopping: end now, the last reported value counts
    CANCEL = "cancel"
    RELEASE = "release"  # hand the trial back to the queue
    ABORT = "abort"  # the attempt is no longer ours


def _no_report(_step: int, _value: float) -> Order:
    return Order.OK


def _no_order() -> Order:
    return Order.OK


def _no_log(_message: str) -> None:
    return None


@dataclass(slots=True)
class ActiveTrial:
    """One running trial as its driver sees it.

    `data` is what `optml_queue.data` loaded for the spec's `data:`, shared within the process: read only.
    `metric` is what the spec judges by, and so what `report` is about; "" stands for the first one declared.
    """

    number: int
    params: Params
    seed: int
    data: Any = None
    attempt: int = 1
    on_report: Callable[[int, float], Order] = field(default=_no_report, repr=False)
    order: Callable[[], Order] = field(default=_no_order, repr=False)
    on_log: Callable[[str], None] = field(default=_no_log, repr=False)
    metric: str = ""

    def report(self, step: int, value: float) -> None:
        """Record the metric at `step`. Raises AttemptEndedError when the attempt was told to end."""
        order = self.on_report(step, float(value))
        if order is not Order.OK:
            raise AttemptEndedError(order)

    def should_stop(self) -> bool:
        """Whether the attempt was told to end; for loops that do not report."""
        return self.order() is not Order.OK

    def log(self, message: str) -> None:
        """Keep one line with the trial (`optml logs`)."""
        self.on_log(message)


def algorithms_dir() -> Path:
    """Where the package's own algorithms lie: inside it when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    # Never beside an installed package: that is site-packages, where anybody's `algorithms` may lie.
    installed = package / "_algorithms"
    return installed if installed.is_dir() else package.parent / "algorithms"


def algorithm_names() -> list[str]:
    """The algorithms that come with the package, sorted."""
    return sorted(path.parent.name for path in algorithms_dir().glob("*/driver.py"))


def load_driver(name_or_path: str | Path) -> Driver:
    """The driver of an algorithm that comes with the package (by name) or of any folder (by path).

    Loading runs the folder's driver.py and what it imports. The result is kept by the digest of the source
    files: an unchanged folder is loaded once, a changed one is loaded beside its older version.
    Raises DriverError with file, rule and value when the folder does not keep the contract.
    """
    folder = _folder(name_or_path)
    sources = _read_sources(folder)
    digest = _digest(sources)
    with _load_lock:
        driver = _loaded.get((folder, digest))
        if driver is None:
            driver = _load(folder, sources, digest)
            _loaded[folder, digest] = driver
    return driver


_CONTRACT_FILES = ("driver.py", "functions.py")
_CONTRACT = f"an algorithm is a folder with {' and '.join(_CONTRACT_FILES)}"
_NAME = re.compile(r"[a-z][a-z0-9_]*")

_loaded: dict[tuple[Path, str], Driver] = {}
_load_lock = RLock()


def _folder(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and not {"/", "\\", "."} & set(name_or_path):
        if name_or_path not in algorithm_names():
            raise DriverError(_unknown(name_or_path))
        return algorithms_dir() / name_or_path
    folder = Path(name_or_path).resolve()
    if not folder.is_dir():
        raise DriverError(f"{folder}: no such folder; {_CONTRACT}")
    return folder


def _unknown(name: str) -> str:
    names = algorithm_names()
    near = get_close_matches(name, names, n=1)
    advice = f"did you mean {near[0]!r}? " if near else ""
    return f"no algorithm is called {name!r}; {advice}known are {', '.join(names)}"


def _read_sources(folder: Path) -> dict[Path, bytes]:
    for name in _CONTRACT_FILES:
        if not (folder / name).is_file():
            raise DriverError(f"{folder / name}: is missing; {_CONTRACT}")
    try:
        return {path: path.read_bytes() for path in sorted(folder.glob("*.py"))}
    except OSError as error:
        raise DriverError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _digest(sources: Mapping[Path, bytes]) -> str:
    digest = hashlib.sha256()
    for path, source in sources.items():
        digest.update(f"{path.name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()


class _SourceLoader(SourceFileLoader):
    """Runs the very bytes that the digest was taken of.

    Python's own loader would take a stale .pyc for a file that changed within a second and kept its length.
    """

    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_data(self, path: Any) -> bytes:  # noqa: ARG002 - a loader is for one file
        return self._source

    def path_stats(self, path: Any) -> Any:
        raise OSError(f"{path} has no compiled form")


class _FolderFinder(MetaPathFinder):
    """Finds one algorithm's folder as a package."""

    def __init__(self, package: str, folder: Path, sources: Mapping[Path, bytes]) -> None:
        self._package = package
        self._folder = folder
        self._files = {f"{package}.{path.stem}": (path, source) for path, source in sources.items()}
        init = folder / "__init__.py"
        self._files[package] = (init, sources.get(init, b""))

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname not in self._files:
            return None
        file, source = self._files[fullname]
        return spec_from_file_location(
            fullname,
            loader=_SourceLoader(fullname, str(file), source),
            submodule_search_locations=[str(self._folder)] if fullname == self._package else None,
        )


def _load(folder: Path, sources: Mapping[Path, bytes], digest: str) -> Driver:
    if not _NAME.fullmatch(folder.name):
        raise DriverError(f"{folder}: an algorithm's folder is named in lower case, like 'my_filter'")
    # Of folder and content: versions, and copies, live side by side.
    mark = hashlib.sha256(f"{folder}\0{digest}".encode()).hexdigest()[:8]
    package = f"optml_algorithm_{folder.name}_{mark}"
    finder = _FolderFinder(package, folder, sources)
    sys.meta_path.insert(0, finder)
    try:
        return _checked(_imported(f"{package}.driver", folder), folder, digest)
    except DriverError:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
        raise


def _imported(module: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise DriverError(_import_problem(folder, error)) from error


def _import_problem(folder: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == folder]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"{folder / 'driver.py'}"
    return f"{where}: cannot be loaded: {type(error).__name__}: {error}"


def _checked(module: ModuleType, folder: Path, digest: str) -> Driver:
    file = folder / "driver.py"
    parameters = _all_of(module, file, "PARAMETERS", Parameter)
    metrics = _all_of(module, file, "METRICS", Metric)
    data = _all_of(module, file, "DATA", str)
    if not metrics or not data:
        raise DriverError(f"{file}: {'DATA' if metrics else 'METRICS'}: must name at least one")
    _check_names(file, [p.name for p in parameters], [m.name for m in metrics])
    for parameter in parameters:
        _check_parameter(file, parameter)
    for metric in metrics:
        if not isinstance(metric.goal, Goal):
            raise DriverError(f"{file}: METRICS: {metric.name}: goal must be a Goal, got {metric.goal!r}")
    return Driver(
        name=folder.name,
        path=folder,
        digest=digest,
        parameters={parameter.name: parameter for parameter in parameters},
        metrics={metric.name: metric for metric in metrics},
        data=data,
        train=_function(module, file, "train", "trial"),
        cost=_function(module, file, "cost", "params", "rows") if hasattr(module, "cost") else None,
    )


def _all_of(module: ModuleType, file: Path, name: str, kind: type[T]) -> tuple[T, ...]:
    values = getattr(module, name, None)
    if not isinstance(values, tuple):
        found = "it is missing" if values is None else f"got {values!r}"
        raise DriverError(f"{file}: {name}: must be a tuple of {kind.__name__}, {found}")
    for value in values:
        if not isinstance(value, kind):
            raise DriverError(f"{file}: {name}: must be a tuple of {kind.__name__}, but holds {value!r}")
    return values


def _check_names(file: Path, parameters: list[str], metrics: list[str]) -> None:
    taken = dict.fromkeys(RESULT_COLUMNS, "a column of the results")
    for section, names in (("PARAMETERS", parameters), ("METRICS", metrics)):
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise DriverError(f"{file}: {section}: {name!r} is not a name (letters, digits and _)")
            if name in taken:
                raise DriverError(f"{file}: {section}: {name!r} is already {taken[name]}")
            taken[name] = "a parameter" if section == "PARAMETERS" else "a metric"


def _check_parameter(file: Path, parameter: Parameter) -> None:
    where = f"{file}: PARAMETERS: {parameter.name}"
    if parameter.kind not in PARAMETER_KINDS:
        kinds = ", ".join(kind.__name__ for kind in PARAMETER_KINDS)
        raise DriverError(f"{where}: kind must be one of {kinds}, got {parameter.kind!r}")
    for choice in parameter.choices:
        if problem := parameter.problem(choice):
            raise DriverError(f"{where}: a choice {problem}")
    if parameter.default is not None and (problem := parameter.problem(parameter.default)):
        raise DriverError(f"{where}: the default {problem}")


def _function(module: ModuleType, file: Path, name: str, *arguments: str) -> Callable[..., Any]:
    rule = f"must be a function {name}({', '.join(arguments)})"
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None or not callable(function):
        found = "it is missing" if function is None else f"got {function!r}"
        raise DriverError(f"{file}: {name}: {rule}, {found}")
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        raise DriverError(f"{file}: {name}: {rule}, got {name}{inspect.signature(function)}") from None
    return function
