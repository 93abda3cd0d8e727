"""How good are the points that each method finds: regret after a budget of trials, against Optuna alone.

    python benchmarks/search_quality.py [--quick] [--trials 100] [--seeds 20] [--workers 1 8] [--ahead N] [--out FILE]
    python benchmarks/search_quality.py --queue [--methods tpe cma-es] [--sleep-s 0.25] [--output benchmarks/results]

Every search is run through this package's own searchers in one process: asked for a point, told its value. With
`--workers N`, N trials run all the time and end in the order in which they began. `optuna-tpe` and `optuna-cma-es`
are Optuna's samplers used in the ordinary way: one sampler for the whole study, N asked ahead.
Without `--queue` nothing goes through a queue. What the queue adds is that some points are suggested before a worker
needs them: `--ahead N` lets this package's searchers, not Optuna, have N points more under way (1 with 8 workers).

`--queue` has eight real workers run trials that sleep, against Optuna's own distributed mode with eight processes (see
queued_search.py), and writes table, figures and a plot to `--output`.

Printed are medians over seeds of the regret (best value found minus the function's minimum), and 95 % bootstrap
intervals of the median difference to Optuna's TPE over the same seeds (paired: negative is better than Optuna).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks.search_problems import PROBLEMS, Problem  # noqa: E402
from optml_queue.driver import Goal  # noqa: E402
from optml_queue.search import GridSearch, RandomSearch  # noqa: E402
from optml_queue.search.adaptive import Task, searcher  # noqa: E402
from optml_queue.search.history import Ask, History, Tell  # noqa: E402
from optml_queue.search.optuna_samplers import sampler  # noqa: E402
from optml_queue.search.optuna_search import suggested  # noqa: E402
from optml_queue.space import Choices, Interval, Linear, Space  # noqa: E402
from optml_queue.trial import TrialState  # noqa: E402

BASELINE = "optuna-tpe"
RESAMPLES = 10_000


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
    study = optuna.create_study(sampler=sampler(method, seed))
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


def through_the_queue(given: argparse.Namespace, trials: int, seeds: int) -> None:
    """Eight real workers, or as many as the last of `--workers` says, against as many processes of Optuna's."""
    from benchmarks import queued_search

    setting = queued_search.Setting(trials, given.workers[-1], given.sleep_s)
    problems = [problem for problem in PROBLEMS if problem.name in given.problems]
    rows = queued_search.compared(problems, given.methods, seeds, setting, interval)
    if given.output:
        queued_search.store(rows, setting, given.output)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30 trials, 3 seeds, two problems")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--ahead", type=int, default=0, help="points that our searchers suggest ahead of need")
    parser.add_argument("--problems", nargs="+", default=[problem.name for problem in PROBLEMS])
    parser.add_argument("--out", type=Path, help="a file for the rows as JSON")
    parser.add_argument("--queue", action="store_true", help="through the real queue, against Optuna distributed")
    parser.add_argument("--methods", nargs="+", default=["tpe", "cma-es"], help="of --queue")
    parser.add_argument("--sleep-s", type=float, default=0.25, help="of a trial, with --queue")
    parser.add_argument("--output", type=Path, help="a folder for table, figures and plot of --queue")
    given = parser.parse_args(arguments)
    trials, seeds = (30, 3) if given.quick else (given.trials, given.seeds)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for category in (UserWarning, optuna.exceptions.ExperimentalWarning):
        warnings.simplefilter("ignore", category)
    if given.queue:
        through_the_queue(given, trials, seeds)
        return
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
