"""Who is best, and the figures of an experiment."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.driver import Goal
from optml_queue.summary import Ranking, leaderboard, summarize, top, value_of
from optml_queue.trial import Params, Trial, TrialState


def trial(
    number: int, value: float | None, params: Params | None = None, state: TrialState = TrialState.COMPLETE
) -> Trial:
    metrics = {} if value is None else {"nmse": value}
    return Trial(number, state, params or {"rate": number}, seed=0, metrics=metrics)


def test_only_complete_trials_with_a_finite_value_count() -> None:
    states = [trial(0, -5.0, state=state) for state in TrialState if state is not TrialState.COMPLETE]
    odd = [trial(1, math.nan), trial(2, -math.inf), trial(3, None)]
    assert [value_of(each, "nmse") for each in states + odd] == [None] * len(states + odd)
    assert [each.number for each in top([*states, *odd, trial(7, 0.5)], "nmse", Goal.MINIMIZE, 10)] == [7]


def test_the_goal_decides_and_ties_go_to_the_lowest_number() -> None:
    trials = [trial(0, 0.3), trial(4, 0.1), trial(2, 0.1), trial(3, 0.3)]
    assert [each.number for each in top(trials, "nmse", Goal.MINIMIZE, 3)] == [2, 4, 0]
    assert [each.number for each in top(trials, "nmse", Goal.MAXIMIZE, 3)] == [0, 3, 2]
    assert [each.number for each in leaderboard(trials, "nmse", Goal.MINIMIZE)] == [2, 4, 0, 3]


def test_a_point_is_ranked_by_its_mean_over_seeds() -> None:
    steady: Params = {"rate": 0.1}
    lucky: Params = {"rate": 0.2}
    trials = [trial(0, 0.30, steady), trial(1, 0.34, steady), trial(2, 0.01, lucky), trial(3, 0.99, lucky)]
    first, second = leaderboard(trials, "nmse", Goal.MINIMIZE)
    assert first.params == steady
    assert first.mean == pytest.approx(0.32)
    assert first.sd == pytest.approx(statistics.stdev([0.30, 0.34]))
    assert (first.rank, first.n, first.of, first.number) == (1, 2, 2, 0)
    assert (second.rank, second.params, second.number) == (2, lucky, 2)


def test_a_point_some_of_whose_seeds_diverged_comes_after_all_others() -> None:
    survivor: Params = {"rate": 0.5}
    sound: Params = {"rate": 0.1}
    trials = [
        trial(0, 0.01, survivor),
        trial(1, math.nan, survivor, TrialState.DIVERGED),
        trial(2, 0.2, sound),
        trial(3, None, sound, TrialState.FAILED),
    ]
    first, second = leaderboard(trials, "nmse", Goal.MINIMIZE)
    assert (first.params, first.sd, first.n, first.of, first.diverged) == (sound, None, 1, 2, 0)
    assert (second.params, second.n, second.of, second.diverged) == (survivor, 1, 2, 1)


def test_points_that_differ_only_in_type_are_two() -> None:
    trials = [trial(0, 0.1, {"x": 1}), trial(1, 0.2, {"x": 1.0}), trial(2, 0.3, {"x": True})]
    assert [each.params["x"] for each in leaderboard(trials, "nmse", Goal.MINIMIZE)] == [1, 1.0, True]
    assert len(leaderboard(trials, "nmse", Goal.MINIMIZE, limit=2)) == 2


values = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.integers(0, 4), values), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_means_and_spreads_do_not_depend_on_the_order(pairs: list[tuple[int, float]], random: object) -> None:
    trials = [trial(number, value, {"x": x}) for number, (x, value) in enumerate(pairs)]
    random.shuffle(trials)  # type: ignore[attr-defined]
    by_point: dict[int, list[float]] = {}
    for x, value in pairs:
        by_point.setdefault(x, []).append(value)
    for ranked in leaderboard(trials, "nmse", Goal.MINIMIZE, None):
        held = by_point.pop(ranked.params["x"])  # type: ignore[arg-type]
        assert ranked.mean == pytest.approx(statistics.fmean(held), rel=1e-9, abs=1e-6)
        if len(held) > 1:
            assert ranked.sd == pytest.approx(statistics.stdev(held), rel=1e-6, abs=1e-6)
        else:
            assert ranked.sd is None
    assert by_point == {}


@given(st.lists(values, max_size=50), st.sampled_from(Goal))
def test_ranks_ascend_with_the_goal(given_values: list[float], goal: Goal) -> None:
    ranked = leaderboard([trial(i, value) for i, value in enumerate(given_values)], "nmse", goal, None)
    means = [each.mean for each in ranked]
    assert means == sorted(means, reverse=goal is Goal.MAXIMIZE)
    assert [each.rank for each in ranked] == list(range(1, len(ranked) + 1))


def test_a_summary_has_counts_best_and_durations() -> None:
    def timed(each: Trial, queued: float, started: float, finished: float) -> Trial:
        return replace(each, queued_at=queued, started_at=started, finished_at=finished)

    trials = [
        timed(trial(0, 0.5), 100.0, 101.0, 103.0),
        timed(trial(1, 0.25), 100.0, 103.0, 104.0),
        timed(trial(2, math.nan, state=TrialState.DIVERGED), 100.0, 104.0, 110.0),
        trial(3, None, state=TrialState.QUEUED),
    ]
    summary = summarize(trials, "nmse", Goal.MINIMIZE)
    assert summary["counts"] == dict.fromkeys(map(str, TrialState), 0) | {"complete": 2, "diverged": 1, "queued": 1}
    assert summary["best"] == {"number": 1, "params": {"rate": 1}, "seed": 0, "metric": "nmse", "value": 0.25}
    assert summary["durations"] == {"run_s": 9.0, "wall_s": 10.0, "wait_median_s": 3.0}
    assert [each["number"] for each in summary["leaderboard"]] == [1, 0]
    json.dumps(summary, allow_nan=False)


def test_the_summary_of_nothing_is_whole() -> None:
    summary = summarize([], "nmse", Goal.MAXIMIZE)
    assert summary["best"] is None
    assert summary["leaderboard"] == []
    assert summary["durations"] == {"run_s": 0.0, "wall_s": None, "wait_median_s": None}


def test_a_ranking_can_be_asked_while_it_grows() -> None:
    ranking = Ranking("nmse", Goal.MINIMIZE)
    ranking.add(trial(0, 0.5))
    assert [each.number for each in ranking.best()] == [0]
    ranking.add(trial(1, 0.1))
    assert [each.number for each in ranking.best()] == [1, 0]
