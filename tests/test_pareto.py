"""The Pareto front."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.dominance import undominated
from optml_queue.driver import Goal, Metric
from optml_queue.pareto import front
from optml_queue.trial import Trial, TrialState

METRICS = (Metric("loss"), Metric("accuracy", Goal.MAXIMIZE))


def trial(number: int, loss: float, accuracy: float, reason: str = "") -> Trial:
    return Trial(number, TrialState.COMPLETE, {}, 0, {"loss": loss, "accuracy": accuracy}, reason)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_those_are_on_it_that_no_other_dominates(values: list[tuple[int, int]]) -> None:
    expected = {
        n
        for n, (loss, accuracy) in enumerate(values)
        if not any(a <= loss and b >= accuracy and (a, b) != (loss, accuracy) for a, b in values)
    }
    found = front([trial(n, *pair) for n, pair in enumerate(values)], METRICS)
    assert {each.number for each in found} == expected
    losses = [each.metrics["loss"] for each in found]
    assert losses == sorted(losses)


def test_who_breaks_a_constraint_or_lacks_a_figure_is_not_on_it() -> None:
    best = trial(0, 0.0, 1.0, "infeasible: loss > 0")
    lacking = Trial(1, TrialState.COMPLETE, {}, 0, {"loss": 0.0})
    stopped = Trial(2, TrialState.STOPPED_EARLY, {}, 0, {"loss": 0.0, "accuracy": 1.0})
    odd = trial(3, 0.0, float("nan"))
    assert [each.number for each in front([best, lacking, stopped, odd, trial(4, 1.0, 0.5)], METRICS)] == [4]


@given(st.integers(2, 3), st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=40))
def test_rows_of_figures_have_the_front_that_trials_have(width: int, values: list[tuple[int, int, int]]) -> None:
    rows = [tuple(map(float, value[:width])) for value in values]
    trials = [Trial(n, TrialState.COMPLETE, {}, 0, dict(zip("abc", row, strict=False))) for n, row in enumerate(rows)]
    found = undominated(np.array(rows).reshape(-1, width))
    assert set(found.tolist()) == {each.number for each in front(trials, [Metric(name) for name in "abc"[:width]])}
    assert [rows[n] for n in found] == sorted(rows[n] for n in found)
