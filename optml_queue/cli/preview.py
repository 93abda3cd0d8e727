"""What `--dry-run` shows: how many trials, which points, and how long they would take here."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optml_queue.cli import units
from optml_queue.cli.forecast import forecast, forecast_lines
from optml_queue.cli.workers import cores
from optml_queue.errors import AttemptFailedError
from optml_queue.spec.search import REST
from optml_queue.trial import Params

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optml_queue.forecast import Forecast
    from optml_queue.runner import TrialData
    from optml_queue.search import Plan
    from optml_queue.space import Axis
    from optml_queue.spec import Spec

FIRST_TRIALS = 3
LAST_TRIALS = 2
COUNT_LIMIT = 1_000_000
MEASURE_LIMIT_S = 2.0
MEASURE_AGAIN_S = 0.2
COST_SAMPLE = 200
# What the queue adds to a trial on one worker, as benchmarks/serial_vs_queued.py measures it.
OVERHEAD_S = 0.002
# What a suggestion takes after some hundred trials, one after another while workers train (docs/search.md).
SUGGESTION_S = {"tpe": 0.01, "cma-es": 0.002, "nsga2": 0.001, "evolution": 0.001, "gp": 0.5}
SHOWN_VALUES = 4


@dataclass(frozen=True, slots=True)
class Planned:
    """A trial of the plan: its number, point and seed."""

    number: int
    params: Params
    seed: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """One trial's measured run time on this machine, and what all trials would take; seconds.

    `at_least` when the trial was still running at the limit: then both are lower bounds.
    """

    trial_s: float
    total_s: float
    workers: int
    at_least: bool = False

    def __str__(self) -> str:
        bound = "more than" if self.at_least else "about"
        return (
            f"measured on this machine: one trial {'more than ' if self.at_least else ''}"
            f"{units.duration(self.trial_s)} → {bound} {units.duration(self.total_s)} "
            f"on {units.counted(self.workers, 'worker')}"
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """An experiment before it exists. `trials` is an upper bound when `exact` is False.

    `learns`: the points that are not among the first are suggested when results of earlier ones are there.
    """

    spec: Spec
    trials: int
    exact: bool
    first: Sequence[Planned]
    last: Sequence[Planned]
    estimate: Estimate | None
    prior: Forecast | None = None
    learns: bool = False

    def document(self) -> dict[str, Any]:
        """The preview as JSON."""
        return {
            "name": self.spec.name,
            self.spec.code.kind: self.spec.code.name,
            "method": self.spec.method,
            "metric": self.spec.metric,
            "goal": self.spec.goal,
            "trials": self.trials,
            "exact": self.exact,
            "parameters": {axis.name: axis.to_dict() for axis in self.spec.space.axes},
            "seeds": list(self.spec.seeds),
            "first": [asdict(planned) for planned in self.first],
            "last": [asdict(planned) for planned in self.last],
            "estimate": asdict(self.estimate) if self.estimate else None,
            **(self.prior.document() if self.prior else {}),
        }

    def method(self) -> str:
        """`grid`, or `random: 20, tpe: rest` for a hybrid."""
        stages = self.spec.search.course
        if len(stages) == 1:
            return stages[0].method
        return ", ".join(f"{stage.method}: {stage.trials or REST}" for stage in stages)

    def shown(self) -> str:
        """Which trials the preview has; "" where it has all."""
        first, last = len(self.first), len(self.last)
        if self.learns:
            known = f"the first {units.counted(first, 'trial')}; " if first else ""
            return f"{known}the search suggests {'later ones' if first else 'points'} as results come in"
        return f"the first {first} and the last {last} trials" if self.trials > first + last else ""

    def size(self) -> str:
        """`10,000 trials: 3,334 points × 3 seeds`, or an upper bound that says why."""
        seeds = len(self.spec.seeds)
        product = f": {units.counted(self.trials // seeds, 'point')} × {seeds} seeds" if seeds > 1 else ""
        if self.spec.max_trials is not None and self.trials == self.spec.max_trials:
            product = " (max_trials)"
        if self.exact:
            return units.counted(self.trials, "trial") + product
        return (
            f"at most {units.counted(self.trials, 'trial')}{product}; there are too many points to count how many "
            "are excluded"
        )


def show_preview(spec: Spec, workers: int | None, *, as_json: bool, results: Path | None = None) -> None:
    """Write the preview of a spec to stdout. Starts nothing."""
    from optml_queue.cli.terminal import show, show_json, stdout_width

    preview = preview_of(spec, workers, forecast(spec, results))
    if as_json:
        show_json(preview.document())
    else:
        show(*drawing(preview, stdout_width()))


def preview_of(spec: Spec, workers: int | None, prior: Forecast | None = None) -> Preview:
    """Plan the spec and measure its first trial. What is taken over takes no time."""
    from optml_queue.search import segments

    plan = segments(spec)
    trials, exact = plan.count(COUNT_LIMIT)
    first = [Planned(*trial) for trial in plan.first(FIRST_TRIALS)]
    last = [Planned(*trial) for trial in plan.last(LAST_TRIALS)]
    last = [planned for planned in last if planned not in first]
    to_run = trials - ((prior and prior.trials) or 0)
    sample = first[0] if first else _drawn(spec)
    measured = estimate(spec, plan, to_run, sample, workers or cores()) if sample and to_run > 0 else None
    return Preview(spec, trials, exact, first, last, measured, prior, plan.learns)


def _drawn(spec: Spec) -> Planned | None:
    """A trial like those of a search that has yet to suggest its first."""
    from optml_queue.search.adaptive import untried

    point = untried(spec.space, frozenset(), spec.seed, 0)
    return None if point is None else Planned(0, point, spec.seeds[0])


def estimate(spec: Spec, plan: Plan, trials: int, sample: Planned, workers: int) -> Estimate | None:
    """How long the experiment takes on `workers` workers, by running a trial of it here for at most 2 s.

    None when that trial fails: then there is nothing to measure. None, too, for the user's own code: what it does
    besides is not known, and looking at a spec must start nothing.
    """
    if spec.code.kind != "algorithm":
        return None
    measured = _measure(spec, sample)
    if measured is None:
        return None
    trial_s, at_least = measured
    mean_s = trial_s * _relative_cost(spec, plan, sample) + OVERHEAD_S
    busy = max(1, min(workers, trials))
    return Estimate(trial_s, max(mean_s * trials / busy, _suggesting_s(spec, trials)), workers, at_least)


def _suggesting_s(spec: Spec, trials: int) -> float:
    """How long it takes to suggest the points of so many trials."""
    total_s, left = 0.0, trials
    for stage in spec.search.course:
        count = min(left, stage.trials or left)
        total_s += SUGGESTION_S.get(stage.method, 0.0) * count / len(spec.seeds)
        left -= count
    return total_s


def _measure(spec: Spec, planned: Planned) -> tuple[float, bool] | None:
    """The faster of a few runs of a trial, in seconds, and whether it is a lower bound; None when the trial fails.

    Run in a thread that is left behind at the limit: a driver's training loop cannot be made to stop.
    """
    from optml_queue.cli.submit import load_data

    data = load_data(spec)
    times: list[float] = []
    began_at = time.perf_counter()
    thread = threading.Thread(target=_run_again, args=(spec, data, planned, times), daemon=True)
    thread.start()
    thread.join(MEASURE_LIMIT_S)
    if times:
        return min(times), False
    return (time.perf_counter() - began_at, True) if thread.is_alive() else None


def _run_again(spec: Spec, data: TrialData | None, planned: Planned, times: list[float]) -> None:
    """Run a trial at least twice and for 0.2 s: the first run may compile what later ones find ready."""
    from optml_queue.runner import SerialRun

    began_at = time.perf_counter()
    while len(times) < 2 or time.perf_counter() - began_at < MEASURE_AGAIN_S:
        started_at = time.perf_counter()
        try:
            SerialRun(spec, data).run(planned.number, planned.params, planned.seed)
        except AttemptFailedError:
            return
        times.append(time.perf_counter() - started_at)


def _relative_cost(spec: Spec, plan: Plan, sample: Planned) -> float:
    """The mean cost of a trial relative to that of one of them, by the driver's own figure; 1 when it has none."""
    cost = spec.driver.cost
    if cost is None:
        return 1.0
    from optml_queue.cli.submit import load_data
    from optml_queue.data import Series, Table

    data = load_data(spec)
    rows = data.rows if isinstance(data, Series | Table) else 0
    looks = min(COST_SAMPLE, plan.end)
    trials = (plan.trial(plan.end * look // looks) for look in range(looks))
    costs = [cost(spec.driver.complete(trial[0]), rows) for trial in trials if trial is not None]
    own = cost(spec.driver.complete(sample.params), rows)
    return sum(costs) / len(costs) / own if costs and own > 0 else 1.0


def drawing(preview: Preview, width: int = 80) -> list[RenderableType]:
    """The preview as a terminal shows it."""
    from rich.text import Text

    from optml_queue.cli.tables import Column, fitted, table

    spec = preview.spec
    rows = [*preview.first, *preview.last]
    numbers = Column("trial", [units.count(planned.number) for planned in rows], right=True)
    seeds = Column("seed", [str(planned.seed) for planned in rows], right=True)
    axes = spec.space.axes
    lines: list[RenderableType] = [
        Text.assemble((spec.name, "bold"), f"  {preview.method()} of {spec.code.name}, {spec.goal} {spec.metric}"),
        Text(preview.size()),
        "",
        table(
            [
                Column("parameter", [axis.name for axis in axes]),
                Column("values", [axis_size(axis) for axis in axes], right=True),
                Column("", [axis_text(axis) for axis in axes], folded=True),
            ],
            width,
        ),
    ]
    if rows:
        lines += ["", fitted([numbers, seeds], [planned.params for planned in rows], [], width)]
    if shown := preview.shown():
        lines += [*([] if rows else [""]), Text(shown, style="dim")]
    if preview.prior:
        lines += ["", *map(Text, forecast_lines(preview.prior))]
    if preview.estimate:
        lines += ["", Text(str(preview.estimate))]
    return lines


def axis_size(axis: Axis) -> str:
    """How many values a parameter has; `drawn` for an interval, a power of ten for what nobody reads out."""
    if axis.size is None:
        return "drawn"
    return units.count(axis.size) if axis.size < 10**15 else f"over 10^{len(str(axis.size)) - 1}"


def axis_text(axis: Axis) -> str:
    """The values of a parameter, the middle of many left out: `0.5, 0.1, … 5e-09 (log)`."""
    from optml_queue.space import Lists

    form = axis.to_dict()
    scale = " on a log scale" if axis.log else ""
    condition = f", when {form['when']}" if "when" in form else ""
    if isinstance(axis, Lists):
        lengths = f"{axis.min_length} to {axis.max_length}"
        length = lengths if axis.min_length != axis.max_length else str(axis.max_length)
        return f"lists of {length} of: {axis_text(axis.of)}{condition}"
    if axis.size is None:
        return f"{units.number(form['min'])} to {units.number(form['max'])}{scale}{condition}"
    return _listed(axis, axis.size) + scale + condition


def _listed(axis: Axis, size: int) -> str:
    if size <= SHOWN_VALUES + 2:
        return ", ".join(units.number(axis.value(i)) for i in range(size))
    start = ", ".join(units.number(axis.value(i)) for i in range(SHOWN_VALUES))
    return f"{start}, … {units.number(axis.value(size - 1))}"
