"""The figures of a model's quality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue import metrics

floats = st.floats(-1e6, 1e6)
pairs = st.lists(st.tuples(floats, floats), min_size=1, max_size=50)


def test_figures_of_a_hand_worked_example() -> None:
    targets, predictions = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 1.0])
    assert metrics.mse(targets, predictions) == pytest.approx(8 / 3)
    assert metrics.rmse(targets, predictions) == pytest.approx(math.sqrt(8 / 3))
    assert metrics.nmse(targets, predictions) == pytest.approx(8 / 3 / (2 * 2))


def test_nmse_is_negative_when_the_means_differ_in_sign() -> None:
    assert metrics.nmse(np.array([1.0, 1.0]), np.array([-1.0, -1.0])) == pytest.approx(-4.0)


def test_nmse_is_infinite_when_a_mean_is_zero() -> None:
    assert metrics.nmse(np.array([1.0, 2.0]), np.array([-1.0, 1.0])) == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_are_not_finite_give_figures_that_are_not(value: float) -> None:
    targets, predictions = np.array([1.0, 2.0]), np.array([1.0, value])
    for figure in (metrics.mse, metrics.rmse):
        assert not math.isfinite(figure(targets, predictions))


@given(pairs)
def test_perfect_predictions_have_no_error(values: list[tuple[float, float]]) -> None:
    targets = np.array([target for target, _ in values])
    assert metrics.mse(targets, targets) == metrics.rmse(targets, targets) == 0.0


@given(pairs)
def test_rmse_is_the_root_of_mse_and_mse_is_symmetric(values: list[tuple[float, float]]) -> None:
    targets, predictions = np.array(values).T
    assert metrics.rmse(targets, predictions) ** 2 == pytest.approx(metrics.mse(targets, predictions))
    assert metrics.mse(targets, predictions) == metrics.mse(predictions, targets)


def test_error_rate_counts_what_was_missed() -> None:
    assert metrics.error_rate(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0])) == 0.25


class TestR2:
    def test_a_hand_worked_example(self) -> None:
        targets = np.array([1.0, 2.0, 3.0])
        assert metrics.r2(targets, targets) == 1.0
        assert metrics.r2(targets, np.full(3, 2.0)) == 0.0
        assert metrics.r2(targets, np.array([1.0, 4.0, 1.0])) == pytest.approx(1 - 4)

    def test_constant_targets_have_nothing_to_explain(self) -> None:
        targets = np.ones(3)
        assert metrics.r2(targets, targets) == 1.0
        assert metrics.r2(targets, np.array([1.0, 1.0, 1.1])) == 0.0


class TestTargets:
    @given(pairs)
    def test_sums_give_the_figures_of_the_arrays(self, values: list[tuple[float, float]]) -> None:
        targets, predictions = np.array(values).T
        found = metrics.Targets.of(targets).errors(
            float(((targets - predictions) ** 2).sum()), float(predictions.sum())
        )
        assert found["mse"] == pytest.approx(metrics.mse(targets, predictions))
        assert found["rmse"] == pytest.approx(metrics.rmse(targets, predictions))
        denominator = float(targets.mean()) * float(predictions.mean())
        if found["mse"] and abs(denominator) > 1e-3:
            assert found["nmse"] == pytest.approx(metrics.nmse(targets, predictions), rel=1e-4)

    # Targets of variance 1.
    @pytest.mark.parametrize(
        ("errors", "metric", "reason"),
        [
            ({"mse": 999.0, "nmse": 1.0}, "mse", ""),
            ({"mse": 1001.0, "nmse": 1.0}, "mse", "mse 1001 is over 1000 times the variance of the targets"),
            ({"mse": math.nan, "nmse": math.nan}, "nmse", "the predictions are not finite"),
            ({"mse": math.inf, "nmse": math.inf}, "mse", "the predictions are not finite"),
            ({"mse": 1.0, "nmse": -2.5}, "nmse", "nmse is negative (-2.5): the mean prediction has the wrong sign"),
            ({"mse": 1.0, "nmse": -2.5}, "rmse", ""),
            ({"mse": 1.0, "nmse": math.inf}, "nmse", ""),
        ],
    )
    def test_what_counts_as_run_away(self, errors: dict[str, float], metric: str, reason: str) -> None:
        assert metrics.Targets.of(np.array([1.0, 3.0])).divergence(errors, metric) == reason

    def test_constant_targets_have_no_scale(self) -> None:
        assert metrics.Targets.of(np.ones(3)).divergence({"mse": 1e9, "nmse": 1.0}, "mse") == ""
