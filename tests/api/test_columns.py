"""Columns of finished trials: samples keep extremes, and labels stand for what is not a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.api import columns as columns_module
from optml_queue.api.columns import Table, Tables, chosen, sort_key
from optml_queue.driver import Goal, Metric
from optml_queue.trial import Trial, TrialState

FIGURES = st.one_of(st.floats(allow_nan=False, width=32), st.just(math.nan))


@given(st.lists(FIGURES, min_size=1, max_size=300), st.integers(4, 40))
def test_a_sample_is_bounded_ordered_and_keeps_the_extremes(values: list[float], most: int) -> None:
    value = np.array(values)
    rows = chosen(np.arange(len(values)), value, most)
    assert len(rows) <= max(most, 2)
    assert list(rows) == sorted(set(rows.tolist()))
    finite = value[np.isfinite(value)]
    if len(finite):
        assert finite.min() in value[rows]
        assert finite.max() in value[rows]
    if len(values) <= most:
        assert len(rows) == len(values)


def trial(number: int, state: TrialState = TrialState.COMPLETE, **params: object) -> Trial:
    return Trial(number, state, params, 0, {"nmse": number / 10})  # type: ignore[arg-type]


def table_of(parameters: dict[str, dict[str, object]], *trials: Trial) -> Table:
    table = Table(parameters, "nmse")
    for place, each in enumerate(trials):
        table.add(each, place)
    return table


def test_texts_flags_and_lists_are_labels_and_absent_ones_are_nan() -> None:
    columns = table_of(
        {"kernel": {"values": ["gauss", "linear"]}, "rate": {"min": 0, "max": 1}, "on": {"values": [True]}},
        trial(0, kernel="linear", rate=0.5, on=True),
        trial(1, kernel="gauss", on=False),
        trial(2, kernel="linear", rate="text"),
    ).columns(3)
    assert columns.parameters["kernel"].tolist() == [0, 1, 0]
    assert columns.labels == {"kernel": ["linear", "gauss"], "on": [True, False]}
    assert np.isnan(columns.parameters["rate"]).tolist() == [False, True, True]


@pytest.mark.parametrize("first", [TrialState.FAILED, TrialState.COMPLETE])
def test_a_trial_that_came_again_is_there_once(first: TrialState) -> None:
    # Read before it ran again, or after: then every entry of the log gives its record of now.
    columns = table_of({}, trial(0, first), trial(1), trial(0, first), trial(0)).columns(4)
    assert columns.numbers.tolist() == [1, 0]
    assert columns.value.tolist() == [0.1, 0.0]
    assert columns.places.tolist() == [1, 3]


def test_labels_are_sorted_numbers_first_then_by_the_alphabet() -> None:
    values = ["relu", [2], 10, True, "elu", 9.5, [1, 2], None]
    trials = [trial(n, act=value) for n, value in enumerate(values)]
    key = sort_key(table_of({"act": {"values": values[:-1]}}, *trials).columns(8), "act")
    assert np.isnan(key).tolist() == [False] * 7 + [True]
    assert [values[n] for n in np.argsort(key)[:7]] == [9.5, 10, True, "elu", "relu", [1, 2], [2]]


def test_tables_of_many_experiments_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(None)  # type: ignore[arg-type]  # nothing is read
    for name in "abc":
        tables._tables[name] = table_of({"x": {"value": 1}}, *(trial(n, x=1) for n in range(10)))
    monkeypatch.setattr(columns_module, "CELLS_MAX", 200)
    tables._make_room()
    assert list(tables._tables) == ["b", "c"]
    monkeypatch.setattr(columns_module, "CELLS_MAX", 1)
    tables._make_room()
    assert list(tables._tables) == ["c"]


def test_several_metrics_are_weighed_and_who_breaks_a_constraint_is_not_on_the_front() -> None:
    measured = ((0, 1.0, 3.0, ""), (1, 2.0, 9.0, ""), (2, 3.0, 1.0, ""), (3, 0.5, 0.5, "infeasible: nmse > 0.7"))
    table = Table({}, "nmse", [Metric("nmse"), Metric("score", Goal.MAXIMIZE)])
    for number, nmse, score, reason in measured:
        table.add(Trial(number, TrialState.COMPLETE, {}, 0, {"nmse": nmse, "score": score}, reason), number)
    table.add(Trial(4, TrialState.STOPPED_EARLY, {}, 0, {"nmse": 0.1, "score": 99.0}), 4)
    columns = table.columns(5)
    assert columns.numbers[columns.front].tolist() == [0, 1]
    assert columns.broken.tolist() == [-1, -1, -1, 0, -1]
    assert columns.constraints == ["nmse > 0.7"]
    assert columns.weighed[Metric("nmse")][:4].tolist() == [1.0, 2.0, 3.0, 0.5]
    assert np.isnan(columns.weighed[Metric("nmse")][4])
    assert np.isnan(columns.value).tolist() == [False, False, False, True, True]
