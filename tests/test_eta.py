"""The estimate of an experiment's end against what really comes."""

from __future__ import annotations

import random

import pytest

from optml_queue.eta import Eta, estimate


def test_little_is_known_at_first() -> None:
    assert estimate(10, [1.0, 1.0], 2) is None
    assert estimate(10, [1.0] * 5, 0) is None
    assert estimate(0, [], 0) == Eta(0.0, 0.0, 0.0)


def test_equal_trials_take_total_by_workers() -> None:
    eta = estimate(1_000, [2.0] * 20, 4)
    assert eta is not None
    assert (eta.low_s, eta.median_s, eta.high_s) == pytest.approx((500.0, 500.0, 500.0))


def test_a_single_trial_left_takes_no_longer_than_the_longest() -> None:
    eta = estimate(1, [1.0, 2.0, 8.0], 16)
    assert eta is not None
    assert 0 <= eta.low_s <= eta.median_s <= eta.high_s <= 8.0


def test_throughput_below_what_durations_explain_counts() -> None:
    eta = estimate(10_000, [0.001] * 20, 2, per_second=500.0)
    assert eta is not None
    assert eta.median_s == pytest.approx(20.0)


@pytest.mark.parametrize("left", [20, 400])
def test_the_range_covers_what_comes_about_eight_times_in_ten(left: int) -> None:
    chance = random.Random(5)
    covered = 0
    for seed in range(100):
        seen = [chance.lognormvariate(0.0, 0.7) for _ in range(50)]
        free_at = [chance.random() * chance.lognormvariate(0.0, 0.7) for _ in range(4)]
        for _ in range(left - 4):
            free_at.sort()
            free_at[0] += chance.lognormvariate(0.0, 0.7)
        eta = estimate(left, seen, 4, seed=seed)
        assert eta is not None
        covered += eta.low_s <= max(free_at) <= eta.high_s
    assert 65 <= covered <= 92
