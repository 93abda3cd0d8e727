"""How good are the points that each method finds: regret after a budget of trials, against Optuna alone.

    python benchmarks/search_quality.py [--quick] [--trials 100] [--seeds 20] [--workers 1 8] [--ahead N] [--out FILE]

Every search is run through this package's own searchers in one process: asked for a point, told its value. With
`--workers N`, N trials run all the time and end in the order in which they began. `optuna-tpe` and `optuna-cma-es`
are Optuna's samplers used in the ordinary way: one sampler for the whole study, N asked ahead.
Nothing goes through a queue here. What the queue adds is that some points are suggested before a worker needs them:
`--ahead N` lets this package's searchers, not Optuna, have N points more under way (1 with 8 workers).

Printed are medians over seeds of the regret (best value found minus the function's minimum), and 95 % bootstrap
intervals of the median difference to Optuna's TPE over the same seeds (paired: negative is better than Optuna).
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from optml_queue.driver import Goal
from optml_queue.expression import parse
from optml_queue.search import GridSearch, RandomSearch
from optml_queue.search.adaptive import Task, searcher
from optml_queue.search.history import Ask, History, Tell
from optml_queue.search.optuna_search import sampler, suggested
from optml_queue.space import Choices, Interval, Linear, Space
from optml_queue.trial import Params, TrialState

BASELINE = "optuna-tpe"
RESAMPLES = 10_000


@dataclass(frozen=True)
class Problem:
    """A function to be minimised, whose minimum is known."""

    name: str
    space: Space
    cost: Callable[[Params], float]
    minimum: float


def _number(point: Params, name: str) -> float:
    return float(point[name])  # type: ignore[arg-type]  # the parameters of these functions are numbers


def branin(point: Params) -> float:
    """Branin's function; minimum 0.397887 (L. C. W. Dixon and G. P. Szegő, 1978)."""
    x, y = (_number(point, name) for name in ("x", "y"))
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return (y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(point: Params) -> float:
    """Hartmann's function of six parameters; minimum −3.322368 (Dixon and Szegő, 1978)."""
    x = np.array([point[f"x{i}"] for i in range(6)], dtype=float)
    return float(-(_ALPHA @ np.exp(-np.sum(_A * (x - _P) ** 2, axis=1))))


def rosenbrock4(point: Params) -> float:
    """Rosenbrock's function of four; the last is the logarithm of a rate, which is right at 0.1."""
    x = [_number(point, f"x{i}") for i in range(3)]
    x.append(math.log10(_number(point, "rate")) + 2.0)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def conditional(point: Params) -> float:
    """Two ways: a parabola with a floor of 1, and one of three parameters, harder to find, with a floor of 0."""
    if point["kind"] == "plain":
        return 1.0 + (_number(point, "x") - 0.3) ** 2
    away = (_number(point, "x") - 0.7) ** 2 + 4 * (_number(point, "y") - 0.2) ** 2
    return away + 0.2 * abs(_number(point, "depth") - 4)


_NAMES = dict.fromkeys(("kind", "x", "y", "depth"))
_DEEP = parse("kind == 'deep'", _NAMES)
_UNIT = tuple(Interval(f"x{i}", 0.0, 1.0) for i in range(6))
_FOUR = (*(Interval(f"x{i}", -2.0, 2.0) for i in range(3)), Interval("rate", 1e-4, 1.0, log_scale=True))
PROBLEMS = (
    Problem("branin", Space((Interval("x", -5.0, 10.0), Interval("y", 0.0, 15.0))), branin, 0.39788735772973816),
    Problem("hartmann6", Space(_UNIT), hartmann6, -3.32236801141551),
    Problem("rosenbrock4", Space(_FOUR), rosenbrock4, 0.0),
    Problem(
        "conditional",
        Space(
            (
                Choices("kind", ("plain", "deep")),
                Interval("x", 0.0, 1.0),
                Interval("y", 0.0, 1.0, when=_DEEP),
                Interval("depth", 1, 8, when=_DEEP),
            )
        ),
        conditional,
        0.0,
    ),
)


def grid_regret(problem: Problem, trials: int, seed: int) -> float:
    """A grid of at most `trials` points, as even as it can be; the seed only moves it within its steps."""
    shift = np.random.default_rng(seed).uniform(size=len(problem.space.axes))
    free = [axis for axis in problem.space.axes if isinstance(axis, Interval)]
    count = max(2, int((trials / 2 ** (len(problem.space.axes) - len(free))) ** (1 / len(free))))
    axes = [_stepped(axis, count, part) if isinstance(axis, Interval) else axis for axis, part in
            zip(problem.space.axes, shift, strict=True)]  # fmt: skip
    grid = GridSearch(Space(tuple(axes)))
    points = (grid.point(index) for index in range(grid.size))
    return min(problem.cost(point) for point in points if point is not None) - problem.minimum


def _stepped(axis: Interval, count: int, part: float) -> Choices | Linear:
    if axis.whole:
        return Linear(axis.name, axis.low, axis.high, count=min(count, int(axis.high - axis.low) + 1), when=axis.when)
    return Choices(axis.name, tuple(axis.at((i + part) / count) for i in range(count)), when=axis.when)


def random_regret(problem: Problem, trials: int, seed: int) -> float:
    search = RandomSearch(problem.space, seed, draws=trials)
    points = (search.point(index) for index in range(trials))
    return min(problem.cost(point) for point in points if point is not None) - problem.minimum


def learned_regret(problem: Problem, method: str, trials: int, seed: int, workers: int) -> float:
    """A searcher of this package, with `workers` trials running."""
    learner = searcher(Task(method, problem.space, Goal.MINIMIZE, seed))
    asks: list[Ask] = []
    tells: list[Tell] = []
    while len(tells) < trials:
        while len(asks) < min(trials, len(tells) + workers):
            point = learner.suggest(History(tuple(asks), tuple(tells), len(tells)), [len(asks)])[0].params
            asks.append(Ask(len(asks), point, len(tells), method))
        ended = asks[len(tells)]
        tells.append(Tell(ended.number, len(tells), TrialState.COMPLETE, problem.cost(ended.params)))
    return min(tell.value for tell in tells if tell.value is not None) - problem.minimum


def optuna_regret(problem: Problem, method: str, trials: int, seed: int, workers: int) -> float:
    """Optuna alone: one sampler for the whole study."""
    study = optuna.create_study(sampler=sampler(Task(method, problem.space, Goal.MINIMIZE, seed), seed))
    running: list[tuple[optuna.Trial, float]] = []
    for number in range(trials):
        trial = study.ask()
        running.append((trial, problem.cost(suggested(trial, problem.space))))
        if len(running) == workers or number == trials - 1:
            while running and (len(running) >= workers or number == trials - 1):
                study.tell(*running.pop(0))
    return float(study.best_value) - problem.minimum


def methods_for(problem: Problem) -> list[str]:
    methods = ["grid", "random", "tpe", "evolution", "nsga2", "optuna-tpe"]
    if problem.space.gapless:
        methods += ["cma-es", "optuna-cma-es"]
        methods += ["gp", "optuna-gp"] if find_spec("torch") else []
    return methods


def regret(problem: Problem, method: str, trials: int, seed: int, workers: int, ahead: int) -> float:
    if method == "grid":
        return grid_regret(problem, trials, seed)
    if method == "random":
        return random_regret(problem, trials, seed)
    if method.startswith("optuna-"):
        return optuna_regret(problem, method.removeprefix("optuna-"), trials, seed, workers)
    return learned_regret(problem, method, trials, seed, workers + ahead)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a median."""
    chance = np.random.default_rng(0)
    samples = chance.choice(np.asarray(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(samples, axis=1), (2.5, 97.5))
    return float(low), float(high)


def compare(problem: Problem, trials: int, seeds: int, workers: int, ahead: int) -> list[dict[str, Any]]:
    """A row for each method."""
    found, took_s = {}, {}
    for method in methods_for(problem):
        began_at = time.perf_counter()
        of_method = min(seeds, 5) if method.endswith("gp") else seeds
        found[method] = [regret(problem, method, trials, seed, workers, ahead) for seed in range(of_method)]
        took_s[method] = (time.perf_counter() - began_at) / of_method / trials
    rows = []
    for method, regrets in found.items():
        baseline = BASELINE if not method.endswith("cma-es") else "optuna-cma-es"
        baseline = "optuna-gp" if method.endswith("gp") else baseline
        low, high = interval([ours - theirs for ours, theirs in zip(regrets, found[baseline], strict=False)])
        rows.append(
            {
                "problem": problem.name,
                "workers": workers,
                "method": method,
                "seeds": len(regrets),
                "median_regret": float(np.median(regrets)),
                "against": baseline,
                "difference_95": [low, high],
                "suggestion_ms": 1000 * took_s[method],
            }
        )
    return rows


def show(row: dict[str, Any]) -> None:
    low, high = row["difference_95"]
    print(f"{row['problem']:<12} {row['workers']:>2} workers  {row['method']:<14}", end="")
    print(f" median regret {row['median_regret']:<10.4g} − {row['against']}: [{low:+.3g}, {high:+.3g}]", end="")
    print(f"  {row['suggestion_ms']:.1f} ms/trial", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30 trials, 3 seeds, two problems")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--ahead", type=int, default=0, help="points that our searchers suggest ahead of need")
    parser.add_argument("--problems", nargs="+", default=[problem.name for problem in PROBLEMS])
    parser.add_argument("--out", type=Path, help="a file for the rows as JSON")
    given = parser.parse_args(arguments)
    trials, seeds = (30, 3) if given.quick else (given.trials, given.seeds)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", category=UserWarning)
    rows = []
    for problem in PROBLEMS:
        if problem.name not in given.problems or (given.quick and problem.name not in ("branin", "conditional")):
            continue
        for workers in given.workers:
            of_problem = compare(problem, trials, seeds, workers, given.ahead)
            for row in of_problem:
                show(row)
            rows += of_problem
    if given.out:
        given.out.write_text(json.dumps({"trials": trials, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
