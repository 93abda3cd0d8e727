"""The driver contract: what an algorithm declares, what it is given, what it returns.

An algorithm is a folder with two files. `functions.py` holds pure functions (generate data, initialise, train,
test error). `driver.py` oversees one configuration and declares, at module level:

    PARAMETERS: tuple[Parameter, ...]            names, types, defaults, bounds
    METRICS:    tuple[Metric, ...]               the first is the default one
    DATA:       tuple[str, ...]                  kinds of data it takes; the first named set is the default
    def train(trial: ActiveTrial) -> Mapping[str, float]      every declared metric by name
    def cost(params: Params, rows: int) -> float              optional: relative work of a point
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from optml_queue.errors import AttemptEndedError
from optml_queue.trial import Params, ParamValue


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
    """One hyper-parameter as a driver declares it. A default of None means that the spec must give it."""

    name: str
    kind: type
    default: ParamValue | None = None
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[ParamValue, ...] = ()


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

    `data` is what `optml_queue.data` loaded for the spec's `data:` (shared by all trials of a process: read only).
    """

    number: int
    params: Params
    seed: int
    data: Any = None
    attempt: int = 1
    on_report: Callable[[int, float], Order] = field(default=_no_report, repr=False)
    order: Callable[[], Order] = field(default=_no_order, repr=False)
    on_log: Callable[[str], None] = field(default=_no_log, repr=False)

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
