"""Columns of finished trials: samples keep extremes, and labels stand for what is not a number."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.api.columns import Table, chosen
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


def test_texts_flags_and_lists_are_labels_and_absent_ones_are_nan() -> None:
    table = Table(
        {"kernel": {"values": ["gauss", "linear"]}, "rate": {"min": 0, "max": 1}, "on": {"values": [True]}}, "nmse"
    )
    table.add(trial(0, kernel="linear", rate=0.5, on=True))
    table.add(trial(1, kernel="gauss", on=False))
    table.add(trial(2, kernel="linear", rate="text"))
    columns = table.columns(3)
    assert columns.parameters["kernel"].tolist() == [0, 1, 0]
    assert columns.labels == {"kernel": ["linear", "gauss"], "on": [True, False]}
    assert np.isnan(columns.parameters["rate"]).tolist() == [False, True, True]


def test_a_trial_that_came_again_is_there_once() -> None:
    table = Table({}, "nmse")
    for each in (trial(0, TrialState.FAILED), trial(1), trial(0, TrialState.FAILED), trial(0)):
        table.add(each)
    columns = table.columns(4)
    assert columns.numbers.tolist() == [1, 0]
    assert columns.value.tolist() == [0.1, 0.0]
