"""/api/v1/experiments/{id}/plots/…: what figures show, sampled here, so that a browser draws 2,000 points at most.

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
from optml_queue.store import Experiment
from optml_queue.trial import TrialState

POINTS_MAX = 2_000
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
    """Trials as columns of one length: their parameters, and the metric; null where it diverged or failed."""

    number: list[int]
    state: list[TrialState]
    value: list[float | None]
    parameters: dict[str, list[Any]]
    is_sample: bool


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
        parameters={name: _labelled(columns, name, shown) for name in columns.parameters},
        is_sample=len(shown) < len(rows),
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
