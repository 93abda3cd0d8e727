"""Leaderboards and listings as text."""

from __future__ import annotations

from optml_queue.cli.ranking import Standing, ranked, unranked
from optml_queue.cli.tables import activity, experiment_table, leaderboard, rendered, trial_table
from optml_queue.store import WorkerInfo
from tests.cli.memory_source import MemorySource, experiment, trial


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip() and "─" not in line]


def test_the_leaderboard_has_every_column_in_eighty_columns() -> None:
    standings = [Standing(trial(1), 1, 0.11), Standing(trial(2), 2, 0.12), Standing(trial(0, "diverged", metrics={}))]
    text = rendered(leaderboard(standings, "nmse", 80), 80)
    head, best, _second, last, caption = lines(text)
    assert head == ["rank", "trial", "state", "learning_rate", "nmse", "duration", "attempts", "worker"]
    # The worker's name is cut rather than any figure, and what never changes is told once.
    assert best == ["1", "1", "complete", "1e-06", "0.11", "1.5", "s", "1", "default-a1b2c3@…"]
    assert last[:3] == ["–", "0", "diverged"]
    assert caption == ["filter_size", "5", "throughout"]
    assert max(map(len, text.splitlines())) <= 80


def test_too_many_parameters_share_a_column() -> None:
    points = [{f"parameter_{i}": float(i + n) for i in range(9)} for n in (0, 1)]
    rows = [Standing(trial(n, params=point), n + 1, 0.1) for n, point in enumerate(points)]
    text = rendered(leaderboard(rows, "nmse", 80), 80)
    assert lines(text)[0] == ["rank", "trial", "state", "parameters", "nmse", "duration", "attempts", "worker"]
    assert "parameter_8 8" in text
    assert max(map(len, text.splitlines())) <= 80


def test_narrow_terminals_break_long_titles_and_lose_the_last_columns_first() -> None:
    text = rendered(leaderboard([Standing(trial(0), 1, 0.1), Standing(trial(1), 2, 0.11)], "nmse", 44), 44)
    upper, lower, best, *_ = lines(text)
    assert upper == ["learning_"]
    assert lower == ["rank", "trial", "state", "rate", "nmse"]
    assert best == ["1", "0", "complete", "0.5", "0.1"]


def test_wide_terminals_give_each_parameter_a_column() -> None:
    text = rendered(leaderboard([Standing(trial(1), 1, 0.11)], "nmse", 200), 200)
    head, best = lines(text)
    assert head[3:6] == ["learning_rate", "filter_size", "nmse"]
    assert best[3:6] == ["1e-06", "5", "0.11"]


def test_nothing_is_cut_in_a_pipe() -> None:
    long = "default-a1b2c3@a-machine-with-a-very-long-name.example.com"
    text = rendered(leaderboard([Standing(trial(1, worker=long), 1, 0.11)], "nmse", 10_000), 10_000)
    assert long in text


def test_several_seeds_show_mean_and_spread() -> None:
    standings = [Standing(trial(1), 1, 0.0892, 0.0012, n=3, of=3), Standing(trial(4), 2, 0.0931, 0.002, n=2, of=3)]
    text = rendered(leaderboard(standings, "nmse", 200), 200)
    assert "0.0892 ± 0.0012" in text
    assert "2 of 3" in text


def test_a_missing_parameter_is_a_dash() -> None:
    rows = [
        Standing(trial(0, params={"depth": "deep", "sizes": [32, 32]})),
        Standing(trial(1, params={"depth": "flat"})),
    ]
    _head, deep, flat = lines(rendered(leaderboard(rows, "nmse", 200), 200))
    assert "[32," in deep
    assert flat[4] == "–"


def test_trials_show_seed_and_state() -> None:
    head, row = lines(rendered(trial_table([trial(3, "stopped_early", seed=8)], "nmse", 200), 200))
    assert head[:3] == ["trial", "seed", "state"]
    assert row[:4] == ["3", "8", "stopped", "early"]


def test_trials_show_their_parents_where_any_has_some() -> None:
    trials = [trial(3, params={"sizes": [8]}), trial(4, params={"sizes": [8, 8]}, origin={"parents": [3]})]
    head, third, fourth = lines(rendered(trial_table(trials, "nmse", 200), 200))
    assert head[3] == "parents"
    assert (third[3], fourth[3]) == ("–", "3")
    assert "parents" not in rendered(trial_table(trials[:1], "nmse", 200), 200)


def test_experiments_show_how_far_they_are() -> None:
    text = rendered(experiment_table([experiment([trial(0), trial(1, "failed"), trial(2, "diverged")])]), 120)
    head, row = lines(text)
    assert head == ["experiment", "state", "done", "failed", "diverged", "submitted", "took"]
    assert row[:5] == ["lms-k3f9a", "complete", "3/3", "1", "1"]
    assert row[-2:] == ["1m", "20s"]


def test_a_worker_says_what_it_does() -> None:
    busy = WorkerInfo("w", {"class": "gpu", "experiment": "lms-k3f9a", "number": 7, "since": 100.0})
    assert activity(busy, now=180.0) == "trial 7 of lms-k3f9a for 1m 20s"
    assert activity(WorkerInfo("w", {"class": "gpu", "idle_s": 3.0}), now=180.0) == "waits"


def test_ranking_by_one_seed_takes_the_sources_own() -> None:
    source = MemorySource([trial(0), trial(1), trial(2, "diverged", metrics={"nmse": -5.0})])
    assert [(s.rank, s.trial.number, s.mean) for s in ranked(source, source.record, 10)] == [(1, 0, 0.1), (2, 1, 0.11)]
    assert [s.trial.number for s in unranked(source, source.record, 10)] == [2]


def test_ranking_by_several_seeds_takes_the_mean() -> None:
    params = {"learning_rate": 0.1}, {"learning_rate": 0.2}
    values = {(0, 0): 1.0, (0, 1): 9.0, (1, 0): 4.0, (1, 1): 4.4}
    trials = [
        trial(2 * point + seed, params=params[point], seed=seed, metrics={"nmse": value})
        for (point, seed), value in values.items()
    ]
    source = MemorySource(trials)
    first, second = ranked(source, source.record, 10)
    # The lucky seed of point 0 is the best single trial, and its point is not the best.
    assert first.trial.params == params[1]
    assert (first.mean, first.n, first.of) == (4.2, 2, 2)
    assert second.trial.number == 0
    document = first.document("nmse")
    assert document["number"] == 2
    assert document["value"] == 4.0
    assert document["mean"] == 4.2
