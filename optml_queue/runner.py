"""One attempt of one trial: call the driver, check its answer, sort its exceptions. No queue, no store."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, SupportsFloat

from optml_queue.command.data import DataFile
from optml_queue.constraints import held_to
from optml_queue.data import DataSet, Fetch, load
from optml_queue.driver import DURATION, ActiveTrial, Driver, Goal, Order
from optml_queue.early_stopping import Judge, stopped
from optml_queue.errors import AttemptEndedError, AttemptFailedError, DivergedError, DriverError
from optml_queue.search import Plan, PlannedTrial, SerialSearch, segments
from optml_queue.search.start import NO_START, Start
from optml_queue.spec import Command, Spec
from optml_queue.trial import Params, Reason, TrialResult, TrialState

if TYPE_CHECKING:
    from optml_queue.store import ReusedResult

TrialData = DataSet | DataFile  # what a trial's `data` is, where its spec names some

ERROR_LENGTH = 500
BEST_SO_FAR = "optml:best"  # in a checkpoint, beside the driver's own keys
TRACEBACK_BYTES = 8192


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
    the values reported and the final one, by `goal` (default: the metric's own), those of earlier attempts up to the
    checkpoint that this one goes on from among them. The trial's scratch folder is removed at the end.
    Raises AttemptFailedError for whatever else ends the training, and lets AttemptEndedError pass.
    """
    active = replace(trial, params=driver.complete(trial.params), data=data, metric=metric)
    reported = _BestReported(active, goal or driver.metrics[metric].goal) if at == "best" else None
    try:
        answer = driver.train(active)
    except (AttemptEndedError, AttemptFailedError):
        raise
    except DivergedError as error:
        return TrialResult(TrialState.DIVERGED, error.metrics, error.reason)
    except DriverError as error:
        # A program that is loaded by its first trial: the message has file and line.
        raise AttemptFailedError(Reason.ERROR, str(error)) from error
    except MemoryError as error:
        raise _failure(driver, Reason.OUT_OF_MEMORY, error) from error
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and type(error) is not SystemExit:
            raise  # Celery ends its processes with subclasses
        raise _failure(driver, Reason.ERROR, error) from error
    finally:
        active.tidy()
    metrics = _checked(driver, answer, metric)
    if reported is not None:
        metrics[metric] = reported.or_better(metrics[metric])
    if not math.isfinite(metrics[metric]):
        return TrialResult(TrialState.DIVERGED, metrics, f"{metric} is {metrics[metric]}")
    return TrialResult(TrialState.COMPLETE, metrics)


def run_trial(spec: Spec, driver: Driver, data: Any, trial: ActiveTrial) -> TrialResult:
    """`run_attempt` as a spec wants it: judged by its metric and held to its constraints, its duration measured."""
    began_at = time.monotonic()
    result = run_attempt(driver, data, trial, metric=spec.metric, at=spec.at, goal=spec.goal)
    if spec.measures_duration:
        result = replace(result, metrics={**result.metrics, DURATION: time.monotonic() - began_at})
    return held_to(result, driver.complete(trial.params), spec.constraints)


def data_of(spec: Spec, fetch: Fetch | None = None, cache_dir: Path | None = None) -> TrialData | None:
    """The data of a spec as its code takes them: loaded; for a command, their file; None when it names none.

    `fetch` and `cache_dir` are those of `optml_queue.data.load`. Raises DataError.
    """
    if spec.data is None:
        return None
    if isinstance(spec.code, Command):
        return DataFile.of(spec.data, fetch, cache_dir)
    return load(spec.data, fetch, cache_dir)


@dataclass(frozen=True, slots=True)
class SerialTrial:
    """A trial that has ended in this process, or took the result of an earlier one over.

    `took_s` is how long it ran here, in seconds. `reused_from` is the trial that ran, as in `lms-k3f9a/17`.
    """

    number: int
    params: Params
    seed: int
    result: TrialResult
    took_s: float = 0.0
    reused_from: str = ""


class Prior(Protocol):
    """What a serial run takes over from earlier experiments."""

    @property
    def start(self) -> Start:
        """What its searcher is told first."""

    def find(self, params: Params, seed: int, /) -> ReusedResult | None:
        """The result of a trial that would be the same."""

    def curve(self, experiment: str, number: int, /) -> Mapping[int, float]:
        """What the trial of a result reported, value by step; empty where nobody knows."""


class SerialRun:
    """The trials of a spec one after another in this process, as its queue would run them with one worker.

    `data` are the spec's, where they have been loaded; `driver` is its algorithm's, where it does not come with the
    package; `prior` is what it takes over. The spec's rule of early stopping holds; its target and budget do not end a
    serial run.
    """

    def __init__(
        self, spec: Spec, data: TrialData | None = None, driver: Driver | None = None, prior: Prior | None = None
    ) -> None:
        self.plan = segments(spec)
        self._spec = spec
        self._data = data_of(spec) if data is None else data
        self._driver = driver or spec.driver
        self._prior = prior
        self._search = SerialSearch(spec, self.plan, NO_START if prior is None else prior.start)
        self._judge = Judge(spec.early_stopping, spec.goal, spec.at) if spec.early_stopping else None

    def __iter__(self) -> Iterator[PlannedTrial]:
        """The trials in order; the result of each is to be told before the next is asked for."""
        return iter(self._search)

    def tell(self, number: int, result: TrialResult) -> None:
        """A trial ended."""
        self._search.tell(number, result)

    def reused(self, number: int, params: Params, seed: int) -> SerialTrial | None:
        """The trial with the result that it takes over; None when there is none, and it has to run."""
        found = None if self._prior is None else self._prior.find(params, seed)
        if found is None or self._prior is None:
            return None
        if self._judge is not None:
            curve, is_complete = self._prior.curve(found.experiment, found.number), found.state is TrialState.COMPLETE
            self._judge.take_over(number, curve, is_complete=is_complete, enters_rungs=found.enters_rungs)
        return SerialTrial(number, params, seed, found.result, reused_from=found.ran)

    def run(self, number: int, params: Params, seed: int, on_log: Callable[[str], None] | None = None) -> SerialTrial:
        """Run a trial. Raises AttemptFailedError: there are no further attempts."""
        trial = ActiveTrial(number=number, params=params, seed=seed)
        if on_log is not None:
            trial.on_log = on_log
        if self._judge is not None:
            trial.on_report = partial(_judged, self._judge, number)
        began_at = time.perf_counter()
        result = self._result(trial)
        return SerialTrial(number, params, seed, result, time.perf_counter() - began_at)

    def _result(self, trial: ActiveTrial) -> TrialResult:
        spec, judge = self._spec, self._judge
        try:
            result = run_trial(spec, self._driver, self._data, trial)
        except AttemptEndedError as ended:
            if judge is None or ended.order != Order.STOP:
                raise
            return stopped(judge.curves.get(trial.number, {}), spec.metric, spec.goal, spec.at)
        if judge is not None and result.state is TrialState.COMPLETE:
            judge.complete(trial.number)
        return result


def run_serial(
    spec: Spec, numbers: Iterable[int] | None = None, data: TrialData | None = None, driver: Driver | None = None
) -> Iterator[tuple[int, TrialResult]]:
    """The trials of a `SerialRun`: (number, result) as each one ends.

    `numbers` picks some; gaps in the numbering are passed over. A trial that fails has a FAILED result with its error
    as the reason. Nothing is taken over from earlier experiments.
    """
    run = SerialRun(spec, data, driver)
    for number, params, seed in run if numbers is None else _chosen(run.plan, numbers):
        try:
            result = run.run(number, params, seed).result
        except AttemptFailedError as failure:
            result = TrialResult(TrialState.FAILED, {}, failure.error)
        if numbers is None:
            run.tell(number, result)
        yield number, result


def _judged(judge: Judge, number: int, step: int, value: float) -> Order:
    return Order.STOP if judge.report(number, step, value) else Order.OK


def _chosen(plan: Plan, numbers: Iterable[int]) -> Iterator[PlannedTrial]:
    for number in numbers:
        if planned := plan.trial(number):
            yield number, *planned


class _BestReported:
    """The best value that a trial reports. Checkpoints carry it from one attempt to the next."""

    def __init__(self, trial: ActiveTrial, goal: Goal) -> None:
        self._choose: Callable[[Iterable[float]], float] = min if goal is Goal.MINIMIZE else max
        self._best: float | None = None  # None: none was finite
        self._on_report, self._on_checkpoint, self._on_restore = trial.on_report, trial.on_checkpoint, trial.on_restore
        trial.on_report, trial.on_checkpoint, trial.on_restore = self._report, self._checkpoint, self._restore

    def or_better(self, value: float) -> float:
        """The best of what was reported and `value`; that one when nothing is finite."""
        finite = [each for each in (self._best, value) if each is not None and math.isfinite(each)]
        return self._choose(finite) if finite else value

    def _report(self, step: int, value: float) -> Order:
        if math.isfinite(value):
            self._best = self.or_better(value)
        return self._on_report(step, value)

    def _checkpoint(self, state: Mapping[str, Any]) -> Order:
        return self._on_checkpoint({**state, BEST_SO_FAR: self._best})

    def _restore(self) -> dict[str, Any] | None:
        state = self._on_restore()
        if state is not None:
            self._best = state.pop(BEST_SO_FAR, None)
        return state


def _checked(driver: Driver, answer: object, judged: str) -> dict[str, float]:
    """The driver's answer as floats; in it what the trial is judged by, and every metric that is not optional."""
    if not isinstance(answer, Mapping):
        raise AttemptFailedError(
            Reason.NO_METRIC,
            f"{driver.title}: train must return a mapping of metrics, but returned {_shown(answer)}",
        )
    metrics = {str(name): _as_float(driver, str(name), value) for name, value in answer.items()}
    required = [name for name, metric in driver.metrics.items() if name == judged or not metric.optional]
    missing = [name for name in required if name not in metrics]
    if missing:
        raise AttemptFailedError(
            Reason.NO_METRIC,
            f"{driver.title}: train returned no {' and no '.join(missing)}; "
            f"it returned {', '.join(metrics) or 'nothing'}",
        )
    return metrics


def _as_float(driver: Driver, name: str, value: object) -> float:
    if type(value) is float:
        return value  # what most are; to ask whether something can be made one takes as long as a short trial
    try:
        if isinstance(value, SupportsFloat) and not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise AttemptFailedError(
        Reason.BAD_METRIC, f"{driver.title}: the metric {name} must be a number, got {_shown(value)}"
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
        if folder in Path(frame.tb_frame.f_code.co_filename).parents:
            return frame
        frame = frame.tb_next
    return frames
