"""What stands behind the figures of search quality, without any search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import queued_search, search_quality, search_results
from benchmarks.queued_search import Course, Run, Setting, Side
from benchmarks.search_problems import PROBLEMS, Problem
from benchmarks.search_results import Results, Row
from benchmarks.test_functions.functions import digits_ann
from optml_queue.trial import Params, encode

BY_NAME = {problem.name: problem for problem in PROBLEMS}
EVERY = pytest.mark.parametrize("problem", PROBLEMS, ids=list(BY_NAME))


@EVERY
def test_a_problems_spec_says_its_space(problem: Problem) -> None:
    spec = queued_search.spec_of(problem, "tpe", 0, Setting(trials=10, workers=2, sleep_s=0.5))
    fixed = ("function", "sleep_s")
    assert tuple(axis for axis in spec.space.axes if axis.name not in fixed) == problem.space.axes


@EVERY
def test_a_grid_is_within_its_budget_and_all_apart(problem: Problem) -> None:
    tried: list[Params] = []

    def cost(point: Params) -> float:
        tried.append(point)
        return 1.0

    search_quality.grid_regret(replace(problem, cost=cost), 100, 3)
    assert 30 <= len(tried) <= 100
    assert all(problem.space.contains(point) for point in tried)
    assert len({encode(point) for point in tried}) == len(tried)


def test_a_grid_of_integers_is_even_on_its_scale() -> None:
    tried: set[int] = set()

    def cost(point: Params) -> float:
        tried.add(int(point["units"]))  # type: ignore[arg-type]  # an interval of integers
        return 1.0

    search_quality.grid_regret(replace(BY_NAME["digits_ann"], cost=cost), 1_000, 3)
    assert sorted(tried) == [4, 23, 128]


def test_a_method_comes_with_what_it_is_judged_against() -> None:
    assert list(search_quality.methods_for(BY_NAME["branin"], ["gp", "evolution"])) == [
        "evolution",
        "optuna-tpe",
        "gp",
        "optuna-gp",
    ]
    assert list(search_quality.methods_for(BY_NAME["conditional"], ["gp", "cma-es"])) == []


def test_what_optunas_processes_lack_does_not_go_through_the_queue(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search_quality.main(["--queue", "--methods", "tpe", "evolution"])
    assert "Optuna's processes have no evolution; name tpe" in capsys.readouterr().err


def row(method: str, *regrets: float, problem: str = "branin", workers: int = 8) -> Row:
    return Row(problem, workers, method, regrets)


def test_differences_are_of_the_same_seeds() -> None:
    results = Results(100, 0).with_row(row("optuna-tpe", 1.0, 2.0, 3.0, 90.0)).with_row(row("tpe", 2.0, 3.0, 4.0))
    assert results.difference(results.rows[0]) == (1.0, 1.0)
    assert results.difference(results.rows[1]) is None
    assert results.difference(row("gp", 1.0)) is None


def test_a_run_in_parts_is_one_table(tmp_path: Path) -> None:
    first = Results(100, 0).with_row(row("optuna-tpe", 1.0, 2.0)).with_row(row("tpe", 0.5, 9.0))
    search_results.store(first, tmp_path)
    second = search_results.read(tmp_path / "search-quality.json", 100, 0).with_row(row("tpe", 0.5, 1.0))
    second = second.with_row(row("random", 4.0, problem="lms", workers=1))
    search_results.store(second, tmp_path)
    assert search_results.read(tmp_path / "search-quality.json", 100, 0) == second
    assert [each.method for each in second.rows] == ["tpe", "optuna-tpe", "random"]
    text = (tmp_path / "search-quality.md").read_text()
    assert "medians over 2 seeds" in text
    assert "| median regret | branin |\n|---|---|\n| tpe | 0.75 |\n| optuna-tpe | 1.5 |" in text
    assert "| tpe | **-1 … -0.5** |" in text
    assert "| median regret | lms |\n|---|---|\n| random | 4 (1) |" in text
    with pytest.raises(ValueError, match="searches of 100 trials with 0 ahead, not 50 and 0; name another folder"):
        search_results.read(tmp_path / "search-quality.json", 50, 0)


def queued(problem: str, method: str, regret: float) -> queued_search.Row:
    side = Side.of([Course(regret, took_s=3.0, unknown=7.0)])
    return queued_search.Row(problem, method, side, side, 0.0, 0.0)


def test_runs_through_the_queue_stay_apart(tmp_path: Path) -> None:
    first = Run(Setting(100, 8, 0.25), (queued("branin", "tpe", 0.1), queued("lms", "tpe", 0.2)))
    second = Run(Setting(100, 8, 1.0), (queued("lms", "tpe", 0.3), queued("branin", "gp", 0.4)))
    for run in (first, second):
        queued_search.store(run, tmp_path)
    kept = Run(first.setting, first.rows[:1])
    assert queued_search.read(tmp_path / "search-quality-queue.json") == [kept, second]
    text = (tmp_path / "search-quality-queue.md").read_text()
    assert text.index("trials of 0.25 s") < text.index("| branin | tpe |") < text.index("trials of 1 s")


@pytest.mark.training
def test_the_network_on_the_digits_learns_by_its_rate() -> None:
    point: Params = {"momentum": 0.5, "units": 32, "batch_size": 16, "activation": "relu"}
    assert digits_ann({**point, "learning_rate": 0.1}) < 0.15
    assert digits_ann({**point, "learning_rate": 1e-3}) > 0.3
    assert digits_ann({**point, "learning_rate": 1e30}) == 1.0
