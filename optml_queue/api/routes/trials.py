"""/api/v1/experiments/{id}/trials: paged, filtered, sorted; the best; one with its attempts, logs and curve."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query

from optml_queue.api.columns import STATES, Column, Columns, Rows, sort_key
from optml_queue.api.documents import AttemptDocument, Document, Figure, TrialDocument
from optml_queue.api.installation import Here, Installation
from optml_queue.api.routes.experiments import PREFIX, Id, experiment_of
from optml_queue.archive.kept import artifacts_folder, output
from optml_queue.driver import Goal
from optml_queue.errors import InputError, NotFoundError
from optml_queue.lineage import children
from optml_queue.store import Experiment
from optml_queue.summary import Ranked, leaderboard
from optml_queue.trial import Trial, TrialState

RANKED_MAX = 200_000  # finished trials that a ranking over several seeds reads
_CONDITION = re.compile(r"([^\s<>=!]{1,100})\s*(<=|>=|=|<|>)\s*(.{1,200})")
_COMPARE = {"=": np.equal, "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}

PARAMETER, MEASURED = (
    "params.",
    "metrics.",
)  # before the name of a parameter, of a metric: what else trials are sorted by

router = APIRouter(prefix=PREFIX, tags=["trials"])

Number = Annotated[int, Path(ge=0, le=2**53, description="A trial's number.")]


class Sort(StrEnum):
    """What trials are ordered by beside parameters; a trial that has no such figure is left out."""

    NUMBER = "number"
    METRIC = "metric"  # the best first
    DURATION = "duration"
    FINISHED = "finished"


class TrialPage(Document):
    """Some trials. `total` counts all that match; `covered` of `finished` trials have been looked at so far.

    The two differ for a moment after a large experiment was first sorted or filtered: ask again.
    """

    trials: list[TrialDocument]
    total: int
    covered: int
    finished: int


class TrialDetail(TrialDocument):
    """A trial with its failed attempts, the values it reported by step, and the files it kept.

    `parents` and `children` are the numbers of trials whose points it descends from, or that descend from it.
    """

    parents: list[int]
    children: list[int]
    ended_attempts: list[AttemptDocument]
    curve: list[tuple[int, Figure]]
    artifacts: list[str]


class Lines(Document):
    """What a trial logged, line by line, and what its attempts wrote, by attempt."""

    lines: list[str]
    output: dict[int, str]


class RankedPoint(Document):
    """A point's place; `mean` and `sd` are over the `n` complete of its `of` trials, `number` is its best one."""

    rank: int
    params: dict[str, Any]
    mean: float
    sd: float | None
    n: int
    of: int
    diverged: int
    number: int


class Leaderboard(Document):
    """The best points, best first."""

    metric: str
    goal: str
    points: list[RankedPoint]


@router.get("/{id}/trials")
def list_trials(
    id: Id,  # noqa: A002
    here: Here,
    state: Annotated[TrialState | None, Query(description="Only trials in this state.")] = None,
    where: Annotated[
        list[Annotated[str, Query(max_length=320)]],
        Query(
            max_length=10,
            description="Conditions on parameters of finished trials, as in `learning_rate<=1e-3` or `kernel=gauss`.",
        ),
    ] = [],  # noqa: B006 - FastAPI copies it
    sort: Annotated[
        str,
        Query(
            pattern=rf"^({'|'.join(Sort)}|(params|metrics)\..{{1,100}})$",
            description="`number`, `metric` (the best first), `duration`, `finished`, a parameter as in "
            "`params.learning_rate`, or one of several metrics (the best first) as in `metrics.duration_s`. A trial "
            "that has no such figure is left out.",
        ),
    ] = Sort.NUMBER,
    descending: Annotated[bool, Query(description="The other way round.")] = False,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    as_of: Annotated[
        int | None,
        Query(
            ge=0,
            le=2**53,
            description="Only the first so many entries of the log of finished trials: with the `covered` of the first "
            "page, trials that finish meanwhile do not move the pages that follow.",
        ),
    ] = None,
) -> TrialPage:
    """List trials.

    By number, all trials are there, those that wait and run too; in any other order, with conditions, and with
    `as_of`, finished ones. Equals are in the order of numbers. Indices of the store answer what they can; the rest
    comes out of a cache of up to a million finished trials.
    """
    found = experiment_of(here, id)
    is_plain = not where and not descending and as_of is None
    quick = _indexed(here, found, state, sort, offset, limit) if is_plain else None
    if quick is not None:
        trials, total, covered = *quick, found.finished
    else:
        columns = here.columns(found)
        matching = _matching(columns, state, where, as_of)
        rows = _ordered(columns, matching, found, sort, descending)
        numbers = columns.numbers[rows[offset : offset + limit]]
        trials = here.reader(found).trials(found.id, [int(n) for n in numbers])
        total, covered = len(rows), columns.covered
    documents = [TrialDocument.of(trial) for trial in trials]
    return TrialPage(trials=documents, total=total, covered=covered, finished=found.finished)


def _indexed(
    here: Installation, found: Experiment, state: TrialState | None, sort: str, offset: int, limit: int
) -> tuple[Sequence[Trial], int] | None:
    """Trials in an order that the store keeps, and how many there are; None for any other."""
    counts, reader = found.counts, here.reader(found)
    # Feasible trials alone are ranked, and nobody counts them.
    is_counted = not json.loads(found.spec).get("constraints")
    if sort == Sort.METRIC and state in (None, TrialState.COMPLETE) and is_counted:
        return reader.page(found.id, TrialState.COMPLETE, offset, limit), counts[TrialState.COMPLETE]
    if sort == Sort.FINISHED and state is None:
        return reader.finished(found.id, offset, offset + limit), found.finished
    if sort == Sort.NUMBER and state is not TrialState.COMPLETE:
        return reader.page(found.id, state, offset, limit), sum(counts.values()) if state is None else counts[state]
    return None


def _matching(columns: Columns, state: TrialState | None, where: Sequence[str], as_of: int | None) -> Rows:
    kept = np.ones(len(columns.numbers), dtype=bool) if as_of is None else columns.places < as_of
    if state is not None:
        kept &= columns.states == STATES.index(state)
    for condition in where:
        kept &= _meets(columns, condition)
    return np.flatnonzero(kept)


def _meets(columns: Columns, condition: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise InputError(f"where: {condition[:80]!r} is no condition; write one as in learning_rate<=1e-3")
    name, operator, text = match.groups()
    if name not in columns.parameters:
        raise InputError(f"where: there is no parameter {name!r}; there are {', '.join(columns.parameters)}")
    labels = columns.labels.get(name)
    if labels is None:
        return np.asarray(_COMPARE[operator](columns.parameters[name], _figure(text)))
    if operator != "=":
        raise InputError(f"where: {name} is not a number: only = can be asked of it")
    codes = [code for code, label in enumerate(labels) if text in (str(label), json.dumps(label))]
    return np.isin(columns.parameters[name], codes)


def _figure(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"where: {text[:80]!r} is not a number") from None


def _ordered(columns: Columns, rows: Rows, found: Experiment, sort: str, descending: bool) -> Rows:
    key = _key(columns, found, sort)[rows]
    rows, key = rows[~np.isnan(key)], key[~np.isnan(key)]
    # The lower number goes first among equals, whichever way the others are sorted.
    order = np.lexsort((columns.numbers[rows], -key if descending else key))
    return rows[order]


def _key(columns: Columns, found: Experiment, sort: str) -> Column:
    if sort.startswith(MEASURED):
        return _measured(columns, sort.removeprefix(MEASURED))
    if sort.startswith(PARAMETER):
        name = sort.removeprefix(PARAMETER)
        if name not in columns.parameters:
            raise InputError(f"sort: there is no parameter {name!r}; there are {', '.join(columns.parameters)}")
        return sort_key(columns, name)
    keys: dict[str, Column] = {
        Sort.NUMBER: columns.numbers.astype(np.float64),
        Sort.METRIC: columns.value if found.goal == Goal.MINIMIZE else -columns.value,
        Sort.DURATION: columns.run_s,
        Sort.FINISHED: columns.finished_at,
    }
    return keys[sort]


def _measured(columns: Columns, name: str) -> Column:
    """One of several metrics, smallest best."""
    for metric, values in columns.weighed.items():
        if metric.name == name:
            return values if metric.goal is Goal.MINIMIZE else -values
    told = ", ".join(metric.name for metric in columns.weighed) or "one, which `metric` sorts by"
    raise InputError(f"sort: there is no metric {name!r}; there are {told}")


@router.get("/{id}/best")
def best(id: Id, here: Here, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> Leaderboard:  # noqa: A002
    """Rank the points; over several seeds, by their mean.

    With several seeds all finished trials are read, up to 200,000; of a larger experiment that is over, the archive's
    summary.json is the answer.
    """
    found = experiment_of(here, id)
    return Leaderboard(
        metric=found.metric, goal=found.goal, points=[RankedPoint(**p) for p in _ranked(here, found, limit)]
    )


def _ranked(here: Installation, found: Experiment, limit: int) -> list[dict[str, Any]]:
    if len(json.loads(found.spec)["seeds"]) == 1:
        trials = here.reader(found).best(found.id, limit)
        points = [
            Ranked(rank, trial.params, trial.metrics[found.metric], None, 1, 1, 0, trial.number)
            for rank, trial in enumerate(trials, start=1)
        ]
        return [asdict(point) for point in points]
    if found.is_consolidated:
        summary: dict[str, Any] = json.loads(here.archive.get(f"{found.id}/summary.json"))
        return list(summary["leaderboard"][:limit])
    if found.finished > RANKED_MAX:
        raise InputError(
            f"{found.id} runs and has more than {RANKED_MAX:,} trials under several seeds: its points are ranked "
            "at its end; until then, trials?sort=metric shows the best trials"
        )
    points = leaderboard(here.reader(found).stream(found.id), found.metric, Goal(found.goal), limit)
    return [asdict(point) for point in points]


@router.get("/{id}/trials/{number}")
def show_trial(id: Id, number: Number, here: Here) -> TrialDetail:  # noqa: A002
    """Show a trial with its failed attempts, its curve and the files it kept."""
    found, trial = _trial(here, id, number)
    folder, reader = artifacts_folder(found.id, number), here.reader(found)
    return TrialDetail(
        **TrialDocument.of(trial).model_dump(),
        parents=trial.parents,
        children=children(trial, found.spec, lambda numbers: reader.trials(found.id, numbers)),
        ended_attempts=[AttemptDocument.of(each) for each in reader.attempts(found.id, number)],
        curve=list(reader.curve(found.id, number).items()),
        artifacts=[key.removeprefix(f"{folder}/") for key in here.archive.keys(folder)],
    )


@router.get("/{id}/trials/{number}/logs")
def show_logs(
    id: Id,  # noqa: A002
    number: Number,
    here: Here,
    start: Annotated[int, Query(ge=0, le=2**31, description="Skip the first lines.")] = 0,
) -> Lines:
    """Show what a trial logged, and what its attempts wrote to stdout and stderr."""
    found, trial = _trial(here, id, number)
    written = {n: output(here.archive, found.id, number, n) for n in range(1, min(trial.attempts, 20) + 1)}
    return Lines(
        lines=here.reader(found).logs(found.id, number, start), output={n: text for n, text in written.items() if text}
    )


def _trial(here: Installation, text: str, number: int) -> tuple[Experiment, Trial]:
    found = experiment_of(here, text)
    trials = here.reader(found).trials(found.id, [number])
    if not trials:
        raise NotFoundError(f"{found.id} has no trial {number}; it may not have been reserved yet")
    return found, trials[0]
