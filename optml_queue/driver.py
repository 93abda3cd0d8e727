"""The driver contract: what an algorithm declares, what it is given, what it returns.

An algorithm is a folder with two files. `functions.py` holds pure functions (generate data, initialise,
train, test error). `driver.py` oversees one configuration and declares, at module level:

    PARAMETERS: tuple[Parameter, ...]            names, types, defaults, bounds
    METRICS:    tuple[Metric, ...]               the first is the default one
    DATA:       tuple[str, ...]                  kinds of data it takes; the first is the default
    def train(trial: ActiveTrial) -> Mapping[str, float]      every metric by name
    def cost(params: Params, rows: int) -> float              optional: relative work of a point
    def check(params: Params) -> Mapping[str, str]            optional: what is wrong with a point
    OTHER_PARAMETERS: bool                       optional: whether a point may have parameters not declared
    def prepare() -> None                                     optional: import what `train` will need

Loading a driver runs driver.py, so it imports heavy libraries inside the functions that need them. The files of
a folder import each other relative to it: `from .functions import initialise`.

A process that will run trials may call `prepare` once, in a thread, as soon as it knows the algorithm: libraries
load while the queue is asked and data are read. `train` may be called before it has returned, or without it, and
must not need it. What `prepare` raises is left to `train` to raise again.

`check` gets a point with its defaults and returns a message for every parameter that is wrong, as the end of a
sentence about it: "must be …, got …". It is asked while a spec is read, where the libraries of the algorithm may be
missing: it lets pass what it cannot judge. Where which parameters there are depends on others, OTHER_PARAMETERS is
true and `check` names those that are not known.

A trial may be cut off anywhere: by a lost machine, or by a worker that is told to end. What trains for long offers its
state to `trial.checkpoint_if_due` between its steps, and begins with `trial.restore`. The state is all that the rest of
the training depends on, so that the result is the same to the last bit as without the interruption.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

from optml_queue.errors import AttemptEndedError, DriverError
from optml_queue.sources import SourcePackage
from optml_queue.trial import Params, ParamValue

T = TypeVar("T")

PARAMETER_KINDS = (bool, int, float, str, list)
# Columns of results.csv before and after the parameters and the metrics, which therefore cannot go by these names.
LEADING_COLUMNS = ("number", "seed", "state")
TRAILING_COLUMNS = (
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
DURATION = "duration_s"  # a metric that every trial has for the asking: seconds of the attempt that ended it
RESULT_COLUMNS = (*LEADING_COLUMNS, *TRAILING_COLUMNS)


class Goal(StrEnum):
    """Whether the best value of a metric is its smallest or its largest."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure a trial is judged by. An `optional` one is left out of the answer where the data have no such figure."""

    name: str
    goal: Goal = Goal.MINIMIZE
    help: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One hyper-parameter as a driver declares it. A default of None means that the spec must give it.

    `minimum` and `maximum` are allowed values themselves, `above` is not. Numbers only; all must be finite.
    `items` is the kind of a list's items; then the bounds are those of each.
    """

    name: str
    kind: type
    default: ParamValue | None = None
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[ParamValue, ...] = ()
    items: type | None = None

    def problem(self, value: object) -> str:
        """Which rule a value breaks, as the end of a sentence about it; "" when it may be used."""
        if not _is_of_kind(value, self.kind):
            return f"must be {_KIND_WORDS[self.kind]}, got {value!r}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}, got {value!r}"
        if isinstance(value, list) and self.items is not None:
            item = replace(self, kind=self.items, choices=(), items=None)
            problems = (
                f"is a list whose items {wrong} at [{i}]"
                for i, each in enumerate(value)
                if (wrong := item.problem(each))
            )
            return next(problems, "")
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
    """A loaded algorithm, or a program or command in its place; `title` is what messages call it.

    `digest` is the SHA-256 of its source files, sorted by name.
    """

    name: str
    path: Path
    digest: str
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    data: tuple[str, ...]
    train: Callable[[ActiveTrial], Mapping[str, float]]
    cost: Callable[[Params, int], float] | None = None
    prepare: Callable[[], None] | None = None
    check: Callable[[Params], Mapping[str, str]] | None = None
    other_parameters: bool = False
    kind: str = "algorithm"

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

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


def _no_checkpoint(_state: Mapping[str, Any]) -> Order:
    return Order.OK


def _never_due() -> bool:
    return False


def _no_restore() -> dict[str, Any] | None:
    return None


def _no_artifact(_path: Path) -> None:
    return None


@dataclass(slots=True)
class ActiveTrial:
    """One running trial as its driver sees it.

    `data` is what `optml_queue.data` loaded for the spec's `data:`, shared within the process: read only.
    `metric` is what the spec judges by, and so what `report` is about; "" stands for the first one declared.
    `threads` is the worker's share of the machine's cores: libraries with threads of their own start as many.
    What is kept (checkpoints, artifacts, lines of the log) is kept by the worker; a trial without one keeps nothing.
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
    threads: int = 1
    on_checkpoint: Callable[[Mapping[str, Any]], Order] = field(default=_no_checkpoint, repr=False)
    checkpoint_is_due: Callable[[], bool] = field(default=_never_due, repr=False)
    on_restore: Callable[[], dict[str, Any] | None] = field(default=_no_restore, repr=False)
    on_artifact: Callable[[Path], None] = field(default=_no_artifact, repr=False)
    scratch_root: Path | None = field(default=None, repr=False)
    _scratch: Path | None = field(default=None, init=False, repr=False, compare=False)

    def report(self, step: int, value: float) -> None:
        """Record the metric at `step`. Raises AttemptEndedError when the attempt was told to end."""
        _obey(self.on_report(step, float(value)))

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep what a later attempt needs to go on from here, now; `checkpoint_if_due` chooses the time by itself.

        `state` holds arrays (NumPy's, or what NumPy makes one of) and JSON values, in mappings and lists as deep as
        need be. Raises TypeError for anything else, and AttemptEndedError when the attempt was told to end, or when
        its worker was: the next attempt goes on from here.
        """
        _obey(self.on_checkpoint(state))

    def checkpoint_if_due(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """`checkpoint(state())` when the last one, or the start, is OPTML_CHECKPOINT_S ago or the worker is to end.

        Otherwise it costs a look at the clock, and `state` is not called: training loops may call this as often as
        every millisecond. Not after the last step: what is left then is to return.
        """
        if self.checkpoint_is_due():
            self.checkpoint(state())

    def restore(self) -> dict[str, Any] | None:
        """The state of the last checkpoint of this trial, its arrays NumPy's; None when there is none."""
        return self.on_restore()

    def artifact(self, path: str | Path) -> None:
        """Keep a file, or a folder, that the trial made: a trained model. `optml best --fetch` brings it.

        A relative path is one in `scratch`. Raises FileNotFoundError, and ArchiveError when it cannot be kept.
        """
        made = self.scratch / path
        if not made.exists():
            raise FileNotFoundError(f"artifact {str(path)!r}: there is no {made}")
        self.on_artifact(made)

    @property
    def scratch(self) -> Path:
        """A folder of this attempt's own, empty at first; it is removed when the attempt ends."""
        if self._scratch is None:
            import tempfile

            self._scratch = Path(tempfile.mkdtemp(prefix="trial-", dir=self.scratch_root))
        return self._scratch

    def tidy(self) -> None:
        """Remove `scratch`. Who runs the attempt calls this at its end."""
        if self._scratch is not None:
            import shutil

            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def should_stop(self) -> bool:
        """Whether the attempt was told to end; for loops that do not report."""
        return self.order() is not Order.OK

    def log(self, message: str) -> None:
        """Keep one line with the trial (`optml logs`)."""
        self.on_log(message)


def _obey(order: Order) -> None:
    if order is not Order.OK:
        raise AttemptEndedError(order)


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


def _load(folder: Path, sources: Mapping[Path, bytes], digest: str) -> Driver:
    if not _NAME.fullmatch(folder.name):
        raise DriverError(f"{folder}: an algorithm's folder is named in lower case, like 'my_filter'")
    # Of folder and content: versions, and copies, live side by side.
    mark = hashlib.sha256(f"{folder}\0{digest}".encode()).hexdigest()[:8]
    package = SourcePackage(f"optml_algorithm_{folder.name}_{mark}", folder, sources)
    module = package.load("driver")
    try:
        return driver_of(module, folder / "driver.py", folder.name, digest)
    except DriverError:
        package.forget()
        raise


def driver_of(module: ModuleType, file: Path, name: str, digest: str, judged: Metric | None = None) -> Driver:
    """The driver that a module's declarations make. Raises DriverError with file, rule and value.

    With `judged`, the metric that a spec names, the module is a program: declarations may be missing, and then it
    takes any parameters, has this metric, takes any data and needs none. Functions but `train` are its own affair.
    """
    parameters = _all_of(module, file, "PARAMETERS", Parameter, judged is not None)
    metrics = _all_of(module, file, "METRICS", Metric, judged is not None)
    data = _all_of(module, file, "DATA", str, judged is not None)
    if judged is None and not (metrics and data):
        raise DriverError(f"{file}: {'DATA' if metrics else 'METRICS'}: must name at least one")
    _check_names(file, [p.name for p in parameters], [m.name for m in metrics])
    for parameter in parameters:
        _check_parameter(file, parameter)
    for metric in metrics:
        if not isinstance(metric.goal, Goal):
            raise DriverError(f"{file}: METRICS: {metric.name}: goal must be a Goal, got {metric.goal!r}")
    if judged is not None and not metrics:
        metrics = (judged,)

    def optional(name: str, *arguments: str) -> Callable[..., Any] | None:
        return _function(module, file, name, *arguments) if judged is None and hasattr(module, name) else None

    return Driver(
        name=name,
        path=file.parent,
        digest=digest,
        parameters={parameter.name: parameter for parameter in parameters},
        metrics={metric.name: metric for metric in metrics},
        data=data,
        train=_function(module, file, "train", "trial"),
        cost=optional("cost", "params", "rows"),
        prepare=optional("prepare"),
        check=optional("check", "params"),
        other_parameters=_takes_others(module, file, judged is not None),
    )


def _takes_others(module: ModuleType, file: Path, is_program: bool) -> bool:
    if is_program:
        return not hasattr(module, "PARAMETERS")
    value = getattr(module, "OTHER_PARAMETERS", False)
    if not isinstance(value, bool):
        raise DriverError(f"{file}: OTHER_PARAMETERS: must be True or False, got {value!r}")
    return value


def _all_of(module: ModuleType, file: Path, name: str, kind: type[T], optional: bool) -> tuple[T, ...]:
    values = getattr(module, name, () if optional else None)
    if not isinstance(values, tuple):
        found = "it is missing" if values is None else f"got {values!r}"
        raise DriverError(f"{file}: {name}: must be a tuple of {kind.__name__}, {found}")
    for value in values:
        if not isinstance(value, kind):
            raise DriverError(f"{file}: {name}: must be a tuple of {kind.__name__}, but holds {value!r}")
    return values


def _check_names(file: Path, parameters: list[str], metrics: list[str]) -> None:
    taken = dict.fromkeys(RESULT_COLUMNS, "a column of the results")
    taken[DURATION] = "what workers measure"
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
    if parameter.items is not None and (parameter.kind is not list or parameter.items not in PARAMETER_KINDS):
        raise DriverError(f"{where}: items is the kind of a list's items, got {parameter.items!r}")
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
