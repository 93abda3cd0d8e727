"""/api/v1/experiments/{id}/plots/…: what figures show, sampled here, so that a browser draws some 2,000 points.

Extremes are always among the sample: the best and the worst trial of a large experiment are never left out.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from optml_queue.api.columns import STATES, Columns, Rows, chosen
from optml_queue.api.documents import Document
from optml_queue.api.installation import Here, Installation
from optml_queue.api.routes.experiments import PREFIX, Id, experiment_of
from optml_queue.driver import Goal
from optml_queue.errors import InputError
from optml_queue.hints import flat
from optml_queue.store import Experiment
from optml_queue.surface import Surface, drawn, surface, telling
from optml_queue.trial import TrialState

POINTS_MAX = 2_000
SURFACE_MAX = 20_000  # trials that the means of a contour plot are of
CURVES_MAX = 20
STEPS_MAX = 100
BINS = 60
SHOWN = tuple(
    STATES.index(state)
    for state in (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.FAILED, TrialState.STOPPED_EARLY)
)

router = APIRouter(prefix=PREFIX, tags=["plots"])


class Figure(Document):
    """Part of an experiment, for drawing. `covered` of `finished` trials were looked at: ask again for the rest."""

    metric: str
    goal: str
    covered: int
    finished: int


class Points(Figure):
    """Trials as columns of one length: their parameters, and the metric; null where a trial has no rank."""

    number: list[int]
    state: list[TrialState]
    value: list[float | None]
    infeasible: list[bool]
    parameters: dict[str, list[Any]]
    is_sample: bool


class Weighed(Document):
    """One of several metrics."""

    name: str
    goal: str


class Pareto(Figure):
    """Complete trials as columns of one length: the values of all `metrics`, and whether a trial is on their front.

    `broken` is the constraint that a trial breaks, empty for none. Everything is empty where there is but one metric.
    """

    metrics: list[Weighed]
    number: list[int]
    front: list[bool]
    broken: list[str]
    values: dict[str, list[float | None]]
    parameters: dict[str, list[Any]]
    is_sample: bool


class Contour(Figure):
    """The metric over two numeric parameters, out of `names`, as triangles between the means of trials close together.

    `x`, `y` and `value` are columns of one length, as logarithms to the base 10 where `…_log` says so; each is the
    mean of `count` trials. `triangles` are places in them; empty where no two parameters have three values each.
    """

    names: list[str]
    x_name: str
    y_name: str
    x: list[float]
    y: list[float]
    value: list[float]
    count: list[int]
    triangles: list[tuple[int, int, int]]
    x_log: bool
    y_log: bool
    value_log: bool


class Share(Document):
    """How much a parameter matters; the shares of an experiment sum to 1."""

    name: str
    share: float


class ImportanceFigure(Figure):
    """Which parameters matter, the first one most, over so many complete `trials`; `advice` is in words.

    `needs` says what is to be installed where the answer takes Optuna and it is not there.
    """

    parameters: list[Share]
    trials: int
    is_sample: bool
    advice: list[str]
    needs: str


class History(Figure):
    """The best value so far, whenever it became better. `finished_at` in seconds since the epoch, UTC."""

    number: list[int]
    finished_at: list[float]
    value: list[float]


class Curve(Document):
    """What one trial reported."""

    number: int
    state: TrialState
    steps: list[int]
    values: list[float | None]


class Curves(Document):
    """What trials reported while they ran: the best ones, and those that run."""

    metric: str
    curves: list[Curve]


class Durations(Figure):
    """How long trials ran and waited (seconds): a histogram of each, by edges and counts."""

    run_edges_s: list[float]
    run_counts: list[int]
    wait_edges_s: list[float]
    wait_counts: list[int]


class Timeline(Figure):
    """Which worker ran which trial when; `worker` is a place in `workers`. Times: seconds since the epoch, UTC."""

    number: list[int]
    state: list[TrialState]
    worker: list[int]
    started_at: list[float]
    run_s: list[float]
    workers: list[str]
    is_sample: bool


@router.get("/{id}/plots/points")
def points(id: Id, here: Here) -> Points:  # noqa: A002
    """Error versus configuration."""
    found, columns = _columns(here, id)
    rows = np.flatnonzero(np.isin(columns.states, SHOWN))
    shown = chosen(rows, columns.value, POINTS_MAX)
    return Points(
        **_figure(found, columns),
        number=columns.numbers[shown].tolist(),
        state=_states(columns, shown),
        value=_finite(columns.value[shown]),
        infeasible=(columns.broken[shown] >= 0).tolist(),
        parameters={name: _labelled(columns, name, shown) for name in columns.parameters},
        is_sample=len(shown) < len(rows),
    )


@router.get("/{id}/plots/pareto")
def pareto(id: Id, here: Here) -> Pareto:  # noqa: A002
    """Several metrics against each other, and the trials that no other one beats in all of them."""
    found, columns = _columns(here, id)
    measured = list(columns.weighed.values())
    rows = np.flatnonzero(np.isfinite(np.column_stack(measured)).all(axis=1)) if measured else np.array([], np.int64)
    shown = np.union1d(chosen(rows, columns.value, POINTS_MAX), columns.front[:POINTS_MAX]).astype(np.int64)
    broken = columns.broken[shown]
    return Pareto(
        **_figure(found, columns),
        metrics=[Weighed(name=metric.name, goal=metric.goal) for metric in columns.weighed],
        number=columns.numbers[shown].tolist(),
        front=np.isin(shown, columns.front).tolist(),
        broken=["" if place < 0 else columns.constraints[place] for place in broken],
        values={metric.name: _finite(values[shown]) for metric, values in columns.weighed.items()},
        parameters={name: _labelled(columns, name, shown) for name in columns.parameters},
        is_sample=len(shown) < len(rows),
    )


@router.get("/{id}/plots/contour")
def contour(
    id: Id,  # noqa: A002
    here: Here,
    x: Annotated[str, Query(max_length=200, description="A parameter; if none, the one that tells most.")] = "",
    y: Annotated[str, Query(max_length=200, description="Another parameter; if none, the next one.")] = "",
) -> Contour:
    """The metric over two numeric parameters: linear between trials, and nothing where there was none."""
    found, columns = _columns(here, id)
    numeric = {name: values for name, values in columns.parameters.items() if name not in columns.labels}
    for name in filter(None, (x, y)):
        if name not in numeric:
            raise InputError(f"{found.id} has no parameter {name!r} that is a number")
    rows = chosen(np.flatnonzero(np.isfinite(columns.value)), columns.value, SURFACE_MAX)
    logs = {name: drawn(values[rows]) for name, values in numeric.items()}
    value, value_log = drawn(columns.value[rows])
    names = telling({name: values for name, (values, _) in logs.items()}, value)
    chosen_x = x or next((name for name in names if name != y), "")
    chosen_y = y or next((name for name in names if name != chosen_x), "")
    made, sides = None, ((np.array([]), False), (np.array([]), False))
    if chosen_x and chosen_y and chosen_x != chosen_y:
        sides = (logs[chosen_x], logs[chosen_y])
        known = np.isfinite(sides[0][0]) & np.isfinite(sides[1][0])
        made = surface(sides[0][0][known], sides[1][0][known], value[known])
    return Contour(
        **_figure(found, columns),
        names=names,
        x_name=chosen_x,
        y_name=chosen_y,
        x_log=sides[0][1],
        y_log=sides[1][1],
        value_log=value_log,
        **_vertices(made),
    )


@router.get("/{id}/plots/importance")
def importance(id: Id, here: Here) -> ImportanceFigure:  # noqa: A002
    """Which parameters matter (PED-ANOVA), and which may as well be fixed. Takes a moment the first time."""
    found, columns = _columns(here, id)
    try:
        known = here.importances.of(found, columns, here.reader(found))
    except InputError as error:
        return ImportanceFigure(
            **_figure(found, columns), parameters=[], trials=0, is_sample=False, advice=[], needs=str(error)
        )
    return ImportanceFigure(
        **_figure(found, columns),
        parameters=[Share(name=name, share=share) for name, share in known.shares.items()],
        trials=known.trials,
        is_sample=known.is_sample,
        advice=[hint.text for hint in flat(known.shares, known.trials)],
        needs="",
    )


@router.get("/{id}/plots/history")
def history(id: Id, here: Here) -> History:  # noqa: A002
    """The best value so far over time."""
    found, columns = _columns(here, id)
    rows = np.flatnonzero(np.isfinite(columns.value) & np.isfinite(columns.finished_at))
    badness = columns.value[rows] * (1 if found.goal == Goal.MINIMIZE else -1)
    before = np.concatenate(([math.inf], np.minimum.accumulate(badness)[:-1])) if len(rows) else badness
    better = chosen(rows[badness < before], columns.value, POINTS_MAX)
    return History(
        **_figure(found, columns),
        number=columns.numbers[better].tolist(),
        finished_at=columns.finished_at[better].tolist(),
        value=columns.value[better].tolist(),
    )


@router.get("/{id}/plots/curves")
def curves(id: Id, here: Here, limit: Annotated[int, Query(ge=1, le=CURVES_MAX)] = 10) -> Curves:  # noqa: A002
    """What the best trials, and those that run, reported by step."""
    found = experiment_of(here, id)
    reader = here.reader(found)
    running = reader.page(found.id, TrialState.RUNNING, limit=limit)
    trials = {trial.number: trial for trial in [*running, *reader.best(found.id, limit)]}
    reported = ((trial, reader.curve(found.id, trial.number)) for trial in trials.values())
    drawn = [_curve(trial.number, trial.state, values) for trial, values in reported if values]
    return Curves(metric=found.metric, curves=list(islice(drawn, limit * 2)))


@router.get("/{id}/plots/durations")
def durations(id: Id, here: Here) -> Durations:  # noqa: A002
    """How long trials ran and waited."""
    found, columns = _columns(here, id)
    run, wait = (_histogram(values[np.isfinite(values)]) for values in (columns.run_s, columns.wait_s))
    return Durations(
        **_figure(found, columns), run_edges_s=run[0], run_counts=run[1], wait_edges_s=wait[0], wait_counts=wait[1]
    )


@router.get("/{id}/plots/timeline")
def timeline(id: Id, here: Here) -> Timeline:  # noqa: A002
    """Which worker ran which trial when."""
    found, columns = _columns(here, id)
    rows = np.flatnonzero(np.isfinite(columns.run_s))
    shown = chosen(rows, columns.run_s, POINTS_MAX)
    return Timeline(
        **_figure(found, columns),
        number=columns.numbers[shown].tolist(),
        state=_states(columns, shown),
        worker=columns.workers[shown].tolist(),
        started_at=(columns.finished_at - columns.run_s)[shown].tolist(),
        run_s=columns.run_s[shown].tolist(),
        workers=list(columns.worker_names),
        is_sample=len(shown) < len(rows),
    )


def _columns(here: Installation, text: str) -> tuple[Experiment, Columns]:
    found = experiment_of(here, text)
    return found, here.columns(found)


def _figure(found: Experiment, columns: Columns) -> dict[str, Any]:
    return {"metric": found.metric, "goal": found.goal, "covered": columns.covered, "finished": columns.finished}


def _states(columns: Columns, rows: Rows) -> list[TrialState]:
    return [STATES[code] for code in columns.states[rows]]


def _vertices(made: Surface | None) -> dict[str, Any]:
    if made is None:
        return {"x": [], "y": [], "value": [], "count": [], "triangles": []}
    names = ("x", "y", "value", "count", "triangles")
    return {name: getattr(made, name).tolist() for name in names}


def _finite(values: Any) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _labelled(columns: Columns, name: str, rows: Rows) -> list[Any]:
    values = _finite(columns.parameters[name][rows])
    labels = columns.labels.get(name)
    return values if labels is None else [None if value is None else labels[int(value)] for value in values]


def _curve(number: int, state: TrialState, reported: dict[int, float]) -> Curve:
    steps, values = np.array(list(reported)), np.array(list(reported.values()), dtype=np.float64)
    shown = chosen(np.arange(len(steps)), values, STEPS_MAX)
    return Curve(number=number, state=state, steps=steps[shown].tolist(), values=_finite(values[shown]))


def _histogram(values: Any) -> tuple[list[float], list[int]]:
    counts, edges = np.histogram(values, bins=BINS) if len(values) else (np.array([]), np.array([]))
    return edges.tolist(), counts.astype(int).tolist()
