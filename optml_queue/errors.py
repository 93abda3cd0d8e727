"""Every error this package raises on purpose.

OptmlError
├── InputError                what the user wrote cannot run (exit code 2)
│   ├── SpecError             one or more problems in a spec, each with its line
│   ├── ExpressionError       a condition (when, exclude) that cannot be read or has no answer
│   ├── DataError             a data set that cannot be read or used
│   ├── DriverError           an algorithm that does not keep the driver contract
│   ├── SettingsError         an OPTML_* variable or a combination of them
│   └── NotFoundError         no experiment, trial or worker of that name
├── UnreachableError          broker, store or archive does not answer (exit code 3)
├── ArchiveError              the archive answers, but refuses or misses something
├── ExperimentFailedError     the experiment ended without what was asked for (exit code 1)
├── DivergedError             raised by a driver: training ran away; a state, not a fault
├── AttemptFailedError        this attempt ended without a result, for a reason that has a name
└── AttemptEndedError         this attempt may not go on (cancelled, stopped, or no longer ours)

Messages say what is wrong, where, and what to do. They never contain a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


class OptmlError(Exception):
    """The root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(OptmlError):
    """What the user wrote cannot run as written."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec: where it stands, which rule it breaks, and what to do.

    `line` counts from 1; 0 means that the problem belongs to the file as a whole.
    """

    key: str
    message: str
    line: int = 0
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.key}: {self.message}" if self.key else self.message
        return f"{text}\n    {self.advice}" if self.advice else text


class SpecError(InputError):
    """A spec with at least one problem; all that were found are told at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        return [f"{self.source}:{p.line}: {p}" if p.line else f"{self.source}: {p}" for p in self.problems]


class ExpressionError(InputError):
    """A condition (`when`, `exclude`) that cannot be read, or that has no answer for some values."""


class DataError(InputError):
    """A data set that cannot be found, read or used."""


class DriverError(InputError):
    """An algorithm that cannot be loaded or does not keep the driver contract."""


class SettingsError(InputError):
    """An environment variable (OPTML_*) whose value cannot be used."""


class NotFoundError(InputError):
    """No experiment, trial or worker goes by that name."""


class UnreachableError(OptmlError):
    """Broker, store or archive does not answer."""

    exit_code = 3

    def __init__(self, what: str, url: str, cause: str) -> None:
        self.what = what
        self.url = without_password(url)
        super().__init__(f"{what} at {self.url} is not reachable: {cause}")


class ArchiveError(OptmlError):
    """The archive answers, but a document is missing or may not be written."""


class ExperimentFailedError(OptmlError):
    """The experiment ended without what was asked for."""


class DivergedError(OptmlError):
    """Raised by a driver when training ran away. `metrics` may hold what was measured, finite or not."""

    def __init__(self, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        self.reason = reason
        self.metrics = dict(metrics or {})
        super().__init__(reason)


class AttemptFailedError(OptmlError):
    """The attempt ended without a result. `__cause__` is the driver's own exception, where there was one.

    `reason` is a `trial.Reason`. `error` is one line; `traceback` begins in the algorithm's own frames.
    """

    def __init__(self, reason: str, error: str, traceback: str = "") -> None:
        self.reason = reason
        self.error = error
        self.traceback = traceback
        super().__init__(error)


class AttemptEndedError(OptmlError):
    """This attempt may not go on: cancelled, stopped early, released, or no longer ours."""

    def __init__(self, order: str) -> None:
        self.order = order
        super().__init__(f"the attempt was told to end: {order}")


def without_password(url: str) -> str:
    """The URL as it may be shown: user and password left out, and the query (it can carry keys)."""
    parts = urlsplit(url)
    if not parts.scheme:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
