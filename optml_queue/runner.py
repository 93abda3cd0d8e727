"""One attempt of one trial: call the driver, check its answer, sort its exceptions. No queue, no store."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat

from optml_queue.data import load
from optml_queue.driver import ActiveTrial, Driver, Goal, Order
from optml_queue.errors import AttemptEndedError, DivergedError, OptmlError
from optml_queue.search import Plan, PlannedTrial, segments
from optml_queue.spec import Spec
from optml_queue.trial import Reason, TrialResult, TrialState

ERROR_LENGTH = 500
TRACEBACK_BYTES = 8192


class AttemptFailedError(OptmlError):
    """The attempt ended without a result. `__cause__` is the driver's own exception, where there was one.

    `error` is one line; `traceback` begins in the algorithm's own frames and keeps the last 8 KiB.
    """

    def __init__(self, reason: Reason, error: str, traceback: str = "") -> None:
        self.reason = reason
        self.error = error
        self.traceback = traceback
        super().__init__(error)


def run_attempt(
    driver: Driver,
    data: Any,
    trial: ActiveTrial,
    *,
    metric: str,
    at: str = "last",
    goal: Goal | None = None,
) -> TrialResult:
    """Train one point and return what it came to: COMPLETE or DIVERGED, with every metric there is.

    The driver's defaults are put under `trial.params`. `at` is "last" or "best": then the metric is the best of
    the values reported and the final one, by `goal` (default: the metric's own).
    Raises AttemptFailedError for whatever else ends the training, and lets AttemptEndedError pass.
    """
    reported: list[float] = []
    active = replace(
        trial,
        params=driver.complete(trial.params),
        data=data,
        metric=metric,
        on_report=_remembering(reported, trial.on_report) if at == "best" else trial.on_report,
    )
    try:
        answer = driver.train(active)
    except AttemptEndedError:
        raise
    except DivergedError as error:
        return TrialResult(TrialState.DIVERGED, error.metrics, error.reason)
    except MemoryError as error:
        raise _failure(driver, Reason.OUT_OF_MEMORY, error) from error
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and type(error) is not SystemExit:
            raise  # Celery ends its processes with subclasses
        raise _failure(driver, Reason.ERROR, error) from error
    metrics = _checked(driver, answer)
    if at == "best":
        metrics[metric] = _best(goal or driver.metrics[metric].goal, metrics[metric], reported)
    if not math.isfinite(metrics[metric]):
        return TrialResult(TrialState.DIVERGED, metrics, f"{metric} is {metrics[metric]}")
    return TrialResult(TrialState.COMPLETE, metrics)


def run_serial(spec: Spec, numbers: Iterable[int] | None = None) -> Iterator[tuple[int, TrialResult]]:
    """The trials of a spec one after another in this process: (number, result) as each one ends.

    `numbers` picks some; gaps in the numbering are passed over. An attempt that fails becomes a FAILED result
    with its error as the reason: there are no further attempts.
    """
    plan = segments(spec)
    data = load(spec.data)
    chosen = plan if numbers is None else _chosen(plan, numbers)
    for number, params, seed in chosen:
        trial = ActiveTrial(number=number, params=params, seed=seed)
        try:
            yield (
                number,
                run_attempt(spec.driver, data, trial, metric=spec.metric, at=spec.at, goal=spec.goal),
            )
        except AttemptFailedError as failure:
            yield number, TrialResult(TrialState.FAILED, {}, failure.error)


def _chosen(plan: Plan, numbers: Iterable[int]) -> Iterator[PlannedTrial]:
    for number in numbers:
        if planned := plan.trial(number):
            yield number, *planned


def _remembering(values: list[float], report: Callable[[int, float], Order]) -> Callable[[int, float], Order]:
    def remember(step: int, value: float) -> Order:
        values.append(value)
        return report(step, value)

    return remember


def _best(goal: Goal, final: float, reported: list[float]) -> float:
    finite = [value for value in (*reported, final) if math.isfinite(value)]
    choose = min if goal is Goal.MINIMIZE else max
    return choose(finite, default=final)


def _checked(driver: Driver, answer: object) -> dict[str, float]:
    """The driver's answer as floats, every declared metric in it."""
    if not isinstance(answer, Mapping):
        raise AttemptFailedError(
            Reason.NO_METRIC,
            f"algorithm {driver.name}: train must return a mapping of metrics, but returned {_shown(answer)}",
        )
    metrics = {str(name): _as_float(driver, str(name), value) for name, value in answer.items()}
    missing = [name for name in driver.metrics if name not in metrics]
    if missing:
        raise AttemptFailedError(
            Reason.NO_METRIC,
            f"algorithm {driver.name}: train returned no {' and no '.join(missing)}, which METRICS declares; "
            f"it returned {', '.join(metrics) or 'nothing'}",
        )
    return metrics


def _as_float(driver: Driver, name: str, value: object) -> float:
    try:
        if isinstance(value, SupportsFloat) and not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise AttemptFailedError(
        Reason.NO_METRIC, f"algorithm {driver.name}: the metric {name} must be a number, got {_shown(value)}"
    )


def _shown(value: object) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"


def _failure(driver: Driver, reason: Reason, error: BaseException) -> AttemptFailedError:
    return AttemptFailedError(reason, _one_line(error), _traceback(driver.path, error))


def _one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())[:ERROR_LENGTH]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _traceback(folder: Path, error: BaseException) -> str:
    frames = _from_folder(folder, error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, frames)).encode(errors="replace")
    if len(text) <= TRACEBACK_BYTES:
        return text.decode()
    # The end says what went wrong. A cut line would look like code that is not there.
    kept = text[-TRACEBACK_BYTES:].partition(b"\n")[2]
    return "…\n" + kept.decode(errors="replace")


def _from_folder(folder: Path, frames: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames above the algorithm's first one; whole when it has none."""
    frame = frames
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename).parent == folder:
            return frame
        frame = frame.tb_next
    return frames
