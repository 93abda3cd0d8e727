"""How good are the points that each method finds: regret after a budget of trials, against Optuna alone.

    python benchmarks/search_quality.py [--quick] [--trials 100] [--seeds 20] [--workers 1 8] [--ahead N]
    python benchmarks/search_quality.py --queue [--methods tpe cma-es] [--sleep-s 0.25]
    … [--problems branin lms] [--methods tpe gp] [--output benchmarks/results]

Every search is run through this package's own searchers in one process: asked for a point, told its value. With
`--workers N`, N trials run all the time and end in the order in which they began. `optuna-tpe` and the like are
Optuna's samplers used in the ordinary way: one sampler for the whole study, N asked ahead.
Without `--queue` nothing goes through a queue. What the queue adds is that some points are suggested before a worker
needs them: `--ahead N` lets this package's searchers, not Optuna, have N points more under way (1 with 8 workers).

`--queue` has eight real workers run trials that sleep, against Optuna's own distributed mode with eight processes (see
queued_search.py).

Printed are medians over seeds of the regret (best value found minus the problem's minimum), and 95 % bootstrap
intervals of the median difference to Optuna's sampler over the same seeds (paired: negative is better than Optuna).
`--output` writes table, figures and a plot to a folder. What another run left there of other problems and methods
stays, so that a long run can be made in parts. The Gaussian process has five seeds at most, and needs PyTorch; the
network of `digits_ann` needs TensorFlow.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path

import numpy as np
import optuna

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks import search_results  # noqa: E402
from benchmarks.search_problems import PROBLEMS, Problem  # noqa: E402
from benchmarks.search_results import METHODS, Row, against, interval  # noqa: E402
from optml_queue.driver import Goal  # noqa: E402
from optml_queue.errors import InputError  # noqa: E402
from optml_queue.search import GridSearch, RandomSearch  # noqa: E402
from optml_queue.search.adaptive import Task, require, searcher  # noqa: E402
from optml_queue.search.history import Ask, History, Tell  # noqa: E402
from optml_queue.search.optuna_samplers import sampler  # noqa: E402
from optml_queue.search.optuna_search import suggested  # noqa: E402
from optml_queue.space import Axis, Choices, Geometric, Interval, Linear, Space  # noqa: E402
from optml_queue.trial import TrialState  # noqa: E402

GP_SEEDS = 5
QUEUED = ("tpe", "cma-es")  # what goes through the queue unless other methods are named


def grid_regret(problem: Problem, trials: int, seed: int) -> float:
    """A grid of at most `trials` points, as even as it can be; the seed only moves it within its steps."""
    shift = np.random.default_rng(seed).uniform(size=len(problem.space.axes))
    free = [axis for axis in problem.space.axes if isinstance(axis, Interval)]
    choices = prod(axis.size for axis in problem.space.axes if isinstance(axis, Choices))
    count = max(2, int((trials / choices) ** (1 / len(free))))
    axes = [_stepped(axis, count, part) if isinstance(axis, Interval) else axis for axis, part in
            zip(problem.space.axes, shift, strict=True)]  # fmt: skip
    grid = GridSearch(Space(tuple(axes)))
    points = (grid.point(index) for index in range(grid.size))
    return min(problem.cost(point) for point in points if point is not None) - problem.minimum


def _stepped(axis: Interval, count: int, part: float) -> Axis:
    if not axis.whole:
        return Choices(axis.name, tuple(axis.at((i + part) / count) for i in range(count)), when=axis.when)
    count = min(count, int(axis.high - axis.low) + 1)
    kind = Geometric if axis.log else Linear
    return kind(axis.name, axis.low, axis.high, count=count, when=axis.when)


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


def methods_for(problem: Problem, wanted: Sequence[str]) -> Iterator[str]:
    """The methods that a problem's space can take, of those wanted, and what they are judged against."""
    for method in METHODS:
        name = method.removeprefix("optuna-")
        if name in ("cma-es", "gp") and not problem.space.gapless:
            continue
        if method in wanted or method in map(against, wanted):
            yield method


def seeds_for(method: str, seeds: int) -> int:
    """How many searches there are; a Gaussian process thinks for long."""
    return min(seeds, GP_SEEDS) if method.endswith("gp") else seeds


def regret(problem: Problem, method: str, trials: int, seed: int, workers: int, ahead: int) -> float:
    if method == "grid":
        return grid_regret(problem, trials, seed)
    if method == "random":
        return random_regret(problem, trials, seed)
    if method.startswith("optuna-"):
        return optuna_regret(problem, method.removeprefix("optuna-"), trials, seed, workers)
    return learned_regret(problem, method, trials, seed, workers + ahead)


def searches(problem: Problem, method: str, trials: int, seeds: int, workers: int, ahead: int) -> Row:
    """The searches of a method, from seed 0 on."""
    regrets = (regret(problem, method, trials, seed, workers, ahead) for seed in range(seeds))
    return Row(problem.name, workers, method, tuple(regrets))


def show(row: Row, difference: tuple[float, float] | None) -> None:
    print(f"{row.problem:<12} {row.workers:>2} workers  {row.method:<14}", end="")
    print(f" median regret {np.median(row.regrets):<10.4g}", end="")
    compared = f" − {against(row.method)}: [{difference[0]:+.3g}, {difference[1]:+.3g}]" if difference else ""
    print(compared, flush=True)


def in_process(given: argparse.Namespace) -> None:
    """Every search in this process. What is known is stored after each number of workers of each problem."""
    results = search_results.Results(given.trials, given.ahead)
    if given.output:
        results = search_results.read(given.output / "search-quality.json", given.trials, given.ahead)
    for problem in given.problems:
        for workers in given.workers:
            rows = []
            for method in methods_for(problem, given.methods):
                seeds = seeds_for(method, given.seeds)
                rows.append(searches(problem, method, given.trials, seeds, workers, given.ahead))
                results = results.with_row(rows[-1])
            for row in rows:
                show(row, results.difference(row))
            if given.output:
                search_results.store(results, given.output)


def through_the_queue(given: argparse.Namespace) -> None:
    """Eight real workers, or as many as the last of `--workers` says, against as many processes of Optuna's."""
    from benchmarks import queued_search

    setting = queued_search.Setting(given.trials, given.workers[-1], given.sleep_s)
    wanted = [
        (problem, method, seeds_for(method, given.seeds))
        for problem in given.problems
        for method in given.methods
        if method in methods_for(problem, given.methods)
    ]
    run = queued_search.compared(wanted, setting, interval)
    if given.output:
        queued_search.store(run, given.output)


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, `problems` as problems; ends the program when they do not go together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    problems = {problem.name: problem for problem in PROBLEMS}
    parser.add_argument("--quick", action="store_true", help="30 trials, 3 seeds, Branin and the conditional space")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--ahead", type=int, default=0, help="points that our searchers suggest ahead of need")
    parser.add_argument("--problems", nargs="+", choices=problems, default=list(problems))
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="default: all; with --queue tpe and cma-es")
    parser.add_argument("--queue", action="store_true", help="through the real queue, against Optuna distributed")
    parser.add_argument("--sleep-s", type=float, default=0.25, help="of a trial, with --queue")
    parser.add_argument("--output", type=Path, help="a folder for table, figures and plot")
    given = parser.parse_args(arguments)
    if given.quick:
        given.trials, given.seeds = 30, 3
        given.problems = [name for name in given.problems if name in ("branin", "conditional")]
    given.problems = [problems[name] for name in given.problems]
    if given.methods is None:
        without = () if find_spec("torch") else ("gp", "optuna-gp")
        given.methods = QUEUED if given.queue else [method for method in METHODS if method not in without]
    try:
        for method in given.methods:
            require(method.removeprefix("optuna-"))
    except InputError as error:
        parser.error(str(error))
    if given.queue and (alone := [method for method in given.methods if against(method) != f"optuna-{method}"]):
        parser.error(f"--queue: Optuna's processes have no {', '.join(alone)}; name tpe, nsga2, cma-es or gp")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = arguments_of(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for category in (UserWarning, optuna.exceptions.ExperimentalWarning):
        warnings.simplefilter("ignore", category)
    if given.queue:
        through_the_queue(given)
    else:
        in_process(given)


if __name__ == "__main__":
    main()
