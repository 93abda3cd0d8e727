"""The finished trials of an experiment in columns, for what an index of the store does not answer.

Sorting and filtering by any figure or parameter, and plots of 100,000 trials, would otherwise read every record each
time. The log of finished trials only grows, so a table is brought up to date by what was added, a bounded step a
request; and it is only a cache: another process, or this one after a restart, makes it anew.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from optml_queue.dominance import undominated
from optml_queue.driver import Goal, Metric
from optml_queue.store import Experiment, Store
from optml_queue.summary import value_of
from optml_queue.trial import INFEASIBLE, Trial, TrialState, encode

TABLES_MAX = 8
CELLS_MAX = 48 << 20  # figures of 8 bytes in all tables together; the table asked for last stays whatever it has
ROWS_MAX = 1_000_000
STEP = 2_000  # records read in one round trip
STEP_LIMIT_S = 0.4  # of reading for one request; the answer says how far it came

COLUMNS = 9  # of a table beside its parameters and metrics

STATES = tuple(TrialState)
_CODES = {state: code for code, state in enumerate(STATES)}
Column = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """A table at one moment; arrays of one length, a row for each finished trial, in the order of finishing.

    `states` are places in STATES. `value` is the figure a trial is ranked by, nan where it has none. Times are seconds.
    `parameters` has numbers as they are; texts, booleans and lists by their place in `labels`; nan where it has none.
    `broken` says which of `constraints` a trial breaks, by its place there; -1 for none. `weighed` has what complete
    trials measured, where there are several metrics: of each, whether they are feasible or not.
    `places` are those in the log of finished trials, of which `covered` of `finished` entries are in.
    """

    numbers: Rows
    places: Rows
    states: Rows
    value: Column
    run_s: Column
    wait_s: Column
    finished_at: Column
    workers: Rows
    worker_names: Sequence[str]
    parameters: Mapping[str, Column]
    labels: Mapping[str, Sequence[Any]]
    broken: Rows
    constraints: Sequence[str]
    weighed: Mapping[Metric, Column]
    covered: int
    finished: int

    @cached_property
    def front(self) -> Rows:
        """The rows on the Pareto front of `weighed`, the best by the first metric first."""
        if not self.weighed:
            return np.array([], dtype=np.int64)
        signed = [values if metric.goal is Goal.MINIMIZE else -values for metric, values in self.weighed.items()]
        scores = np.column_stack(signed)
        rows = np.flatnonzero(np.isfinite(scores).all(axis=1) & (self.broken < 0))
        return rows[undominated(scores[rows])]


class Table:
    """The growing table of one experiment."""

    def __init__(
        self, parameters: Mapping[str, Mapping[str, Any]], metric: str, weighed: Sequence[Metric] = ()
    ) -> None:
        self.lock = Lock()
        self.covered = 0
        self._metric = metric
        self._weighed = {each: array("d") for each in weighed}
        self._constraints: dict[str, int] = {}
        self._snapshot: Columns | None = None
        self._numbers, self._places, self._states, self._workers, self._broken = (array("q") for _ in range(5))
        self._value, self._run_s, self._wait_s, self._finished_at = (array("d") for _ in range(4))
        self._parameters = {name: array("d") for name in parameters}
        # Parameters whose values are not all numbers: what each value's code is, and the other way round.
        self._codes: dict[str, dict[str, int]] = {name: {} for name in parameters if _is_labelled(parameters[name])}
        self._labels: dict[str, list[Any]] = {name: [] for name in self._codes}
        self._worker_codes: dict[str, int] = {}

    @classmethod
    def of(cls, experiment: Experiment) -> Table:
        """An empty table for the trials of an experiment."""
        spec = json.loads(experiment.spec)
        weighed = [Metric(each["name"], Goal(each["goal"])) for each in spec.get("metrics", ())]
        return cls(spec["parameters"], experiment.metric, weighed)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def cells(self) -> int:
        """How many figures it holds."""
        return len(self) * (COLUMNS + len(self._parameters) + len(self._weighed))

    def add(self, trial: Trial, place: int) -> None:
        """Add a trial that finished, at its place in the log; it takes the place of what was known of it."""
        self._snapshot = None
        value = value_of(trial, self._metric)
        self._numbers.append(trial.number)
        self._places.append(place)
        self._states.append(_CODES[trial.state])
        self._value.append(math.nan if value is None else value)
        self._run_s.append(_or_nan(trial.run_s))
        self._wait_s.append(_or_nan(trial.wait_s))
        self._finished_at.append(_or_nan(trial.finished_at))
        self._workers.append(self._worker_codes.setdefault(trial.worker, len(self._worker_codes)))
        for name, column in self._parameters.items():
            column.append(self._number(name, trial.params.get(name)))
        constraint = "" if trial.is_feasible else trial.reason.removeprefix(f"{INFEASIBLE}: ")
        self._broken.append(self._constraints.setdefault(constraint, len(self._constraints)) if constraint else -1)
        for metric, measured in self._weighed.items():
            is_complete = trial.state is TrialState.COMPLETE
            measured.append(_or_nan(trial.metrics.get(metric.name)) if is_complete else math.nan)

    def _number(self, name: str, value: Any) -> float:
        if value is None:
            return math.nan
        if name not in self._codes:
            return float(value) if _is_number(value) else math.nan
        key = encode(value)
        code = self._codes[name].setdefault(key, len(self._codes[name]))
        if code == len(self._labels[name]):
            self._labels[name].append(value)
        return float(code)

    def columns(self, finished: int) -> Columns:
        """The table as it is now: the same arrays for all who ask until a trial is added."""
        known = self._snapshot
        if known is None or (known.covered, known.finished) != (self.covered, finished):
            known = self._snapshot = self._columns(finished)
        return known

    def _columns(self, finished: int) -> Columns:
        # One that was run again is in the log again, and every entry gives its record of now: the last one counts.
        _, from_end = np.unique(np.array(self._numbers, dtype=np.int64)[::-1], return_index=True)
        last = np.sort(len(self._numbers) - 1 - from_end)

        def column(values: array[float]) -> Column:
            return np.array(values, dtype=np.float64)[last]

        def row(values: array[int]) -> Rows:
            return np.array(values, dtype=np.int64)[last]

        return Columns(
            numbers=row(self._numbers),
            places=row(self._places),
            states=row(self._states),
            value=column(self._value),
            run_s=column(self._run_s),
            wait_s=column(self._wait_s),
            finished_at=column(self._finished_at),
            workers=row(self._workers),
            worker_names=list(self._worker_codes),
            parameters={name: column(values) for name, values in self._parameters.items()},
            labels={name: list(labels) for name, labels in self._labels.items()},
            broken=row(self._broken),
            constraints=list(self._constraints),
            weighed={metric: column(values) for metric, values in self._weighed.items()},
            covered=self.covered,
            finished=finished,
        )


class Tables:
    """The tables of the experiments that were asked for last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: OrderedDict[str, Table] = OrderedDict()
        self._lock = Lock()

    def columns(self, experiment: Experiment) -> Columns:
        """The finished trials of an experiment, as many as could be read in the time that one request has."""
        with self._lock:
            table = self._tables.get(experiment.id)
            if table is None:
                table = self._tables[experiment.id] = Table.of(experiment)
            self._tables.move_to_end(experiment.id)
            self._make_room()
        with table.lock:
            self._bring_up(table, experiment)
            return table.columns(experiment.finished)

    def _make_room(self) -> None:
        cells = sum(table.cells for table in self._tables.values())
        while len(self._tables) > TABLES_MAX or (cells > CELLS_MAX and len(self._tables) > 1):
            _, oldest = self._tables.popitem(last=False)
            cells -= oldest.cells

    def _bring_up(self, table: Table, experiment: Experiment) -> None:
        deadline = monotonic() + STEP_LIMIT_S
        while table.covered < experiment.finished and len(table) < ROWS_MAX and monotonic() < deadline:
            stop = min(table.covered + STEP, experiment.finished)
            numbers = self._store.finishing(experiment.id, table.covered, stop)
            places = {number: place for place, number in enumerate(numbers, table.covered)}
            for trial in self._store.finished(experiment.id, table.covered, stop):
                table.add(trial, places[trial.number])
            table.covered = stop


def _is_labelled(axis: Mapping[str, Any]) -> bool:
    """Whether a parameter, as the resolved spec has it, takes anything but numbers."""
    return "list" in axis or not all(map(_is_number, axis.get("values", [axis["value"]] if "value" in axis else [])))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def sort_key(columns: Columns, parameter: str) -> Column:
    """What rows are sorted by when a parameter orders them; nan for a trial that does not have it.

    Numbers by their size, before flags, before texts by the alphabet, before lists.
    """
    values, labels = columns.parameters[parameter], columns.labels.get(parameter)
    if labels is None or not labels:
        return values
    order = sorted(range(len(labels)), key=lambda code: _rank(labels[code]))
    ranks = np.empty(len(labels) + 1)
    ranks[order] = np.arange(len(labels))
    ranks[-1] = math.nan
    return ranks[np.where(np.isnan(values), -1, values).astype(np.int64)]


def _rank(label: Any) -> tuple[int, float, str]:
    if isinstance(label, bool):
        return 1, float(label), ""
    if _is_number(label):
        return 0, float(label), ""
    return (2, 0.0, label) if isinstance(label, str) else (3, 0.0, encode(label))


def chosen(rows: Rows, value: Column, most: int) -> Rows:
    """At most `most` of some rows, evenly spread over them, those with the extremes of `value` among them."""
    if len(rows) <= most:
        return rows
    finite = rows[np.isfinite(value[rows])]
    extremes = [int(finite[pick(value[finite])]) for pick in (np.argmin, np.argmax)] if len(finite) else []
    spread = rows[np.linspace(0, len(rows) - 1, most - len(extremes)).astype(np.int64)]
    return np.union1d(spread, np.array(extremes, dtype=np.int64))
