"""Evolution against random search on the networks of examples/nas-mlp.yaml, at equal worker time.

    python benchmarks/evolution.py [--seeds 10] [--budget 8] [--methods random evolution] [--out FILE]

Every network is really trained: ten epochs on 539 handwritten digits, judged by 898 others (the validation part), in
one process, one trial after another, no early stopping. A search goes on until its trainings have taken `--budget`
seconds of processor time; suggesting is not counted. All graphs are traced before anything is measured, so that a
search does not pay for being the first to try a kind of network.

For the same seed, evolution begins with the 25 points that random search begins with: what differs is the rest. The
difference of each seed is taken at the same worker time, and the 95 % bootstrap interval of their median is printed
(negative: evolution's best network is better). `--out` keeps every trial: seconds, error, parameters, parents.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks.search_results import interval  # noqa: E402
from optml_queue.data import load  # noqa: E402
from optml_queue.driver import ActiveTrial, Driver  # noqa: E402
from optml_queue.runner import run_trial  # noqa: E402
from optml_queue.search import RandomSearch  # noqa: E402
from optml_queue.search.adaptive import Task, searcher  # noqa: E402
from optml_queue.search.history import Ask, History, Tell  # noqa: E402
from optml_queue.spec import Spec, load_spec  # noqa: E402
from optml_queue.trial import Params, TrialState  # noqa: E402

SPEC = ROOT / "examples" / "nas-mlp.yaml"
SETTINGS = (
    "parameters.epochs.value=10",
    "data={name: digits, test: 0.2, validation: 0.5, seed: 0}",
)
MOST = 5_000  # trials of one search; none comes so far
WORSE = 0.5  # an error rate above which a network has learned next to nothing


@dataclass(frozen=True, slots=True)
class Run:
    """One trial: the processor time of its training, its error rate (1 when it diverged), point and parents."""

    train_s: float
    error: float
    params: Params
    parents: tuple[int, ...] = ()


class Trainer:
    """Trains points of the spec, and measures how long it takes."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._driver: Driver = spec.driver
        self._data: Any = load(spec.data) if spec.data else None

    def warm_up(self) -> None:
        """Trace the graph of every kind of network for one epoch."""
        space = {axis.name: axis.to_dict() for axis in self.spec.space.axes}
        lengths = range(space["network_size"]["list"]["min_length"], space["network_size"]["list"]["max_length"] + 1)
        for length, activation, optimizer in product(
            lengths, space["activation"]["values"], space["optimizer"]["values"]
        ):
            point: Params = {"network_size": [8] * length, "activation": activation, "optimizer": optimizer}
            momentum: Params = {"momentum": 0.5} if optimizer == "sgd" else {}
            fixed: Params = {"loss_function": "cross_entropy", "split": "validation", "epochs": 1}
            self.run({**point, **momentum, **fixed, "learning_rate": 0.01})

    def run(self, params: Params) -> Run:
        trial = ActiveTrial(number=0, params=self._driver.complete(params), seed=0)
        began_s = time.process_time()
        result = run_trial(self.spec, self._driver, self._data, trial)
        took_s = time.process_time() - began_s
        error = result.metrics["error_rate"] if result.state is TrialState.COMPLETE else 1.0
        return Run(took_s, error, params)


def points(spec: Spec, method: str, seed: int, runs: list[Run]) -> Iterator[tuple[Params, tuple[int, ...]]]:
    """The points that a method tries, one after the other; `runs` grows by each of them in between."""
    if method == "random":
        drawn = RandomSearch(spec.space, seed, draws=MOST)
        yield from ((point, ()) for index in range(MOST) if (point := drawn.point(index)) is not None)
        return
    learner = searcher(Task(method, spec.space, spec.goal, seed))
    asks: list[Ask] = []
    tells: list[Tell] = []
    for number in range(MOST):
        (suggestion,) = learner.suggest(History(tuple(asks), tuple(tells), number), [number])
        asks.append(Ask(number, suggestion.params, number, method))
        yield suggestion.params, suggestion.parents
        tells.append(Tell(number, number, TrialState.COMPLETE, runs[number].error))


def search(trainer: Trainer, method: str, seed: int, budget_s: float) -> list[Run]:
    """The trials of one search, the last of which spends the budget."""
    runs: list[Run] = []
    spent_s = 0.0
    for params, parents in points(trainer.spec, method, seed, runs):
        run = trainer.run(params)
        runs.append(Run(run.train_s, run.error, params, parents))
        spent_s += run.train_s
        if spent_s >= budget_s:
            return runs
    raise RuntimeError(f"{method}: {MOST} trials took less than {budget_s} s")


def best_at(runs: Sequence[Run], budget_s: float) -> float:
    """The lowest error of the trials that had ended by then."""
    best, spent_s = 1.0, 0.0
    for run in runs:
        spent_s += run.train_s
        if spent_s > budget_s:
            break
        best = min(best, run.error)
    return best


def show(found: dict[str, list[list[Run]]], budgets: Sequence[float]) -> None:
    """Print what the searches found, and how they differ."""
    for method, searches in found.items():
        runs = [run for each in searches for run in each]
        poor = fmean(run.error > WORSE for run in runs)
        length = fmean(len(run.params["network_size"]) for run in runs)  # type: ignore[arg-type]  # it is a list
        print(
            f"{method:<10} {len(runs) / len(searches):6.0f} trials a search, "
            f"{1000 * fmean(run.train_s for run in runs):.0f} ms each; {poor:.0%} err more than {WORSE:.0%}, "
            f"median error {median(run.error for run in runs):.4f}; {length:.1f} layers"
        )
    for method, searches in found.items():
        if method == "random":
            continue
        for budget_s in budgets:
            pairs = [
                (best_at(a, budget_s), best_at(b, budget_s)) for a, b in zip(searches, found["random"], strict=True)
            ]
            differences = [a - b for a, b in pairs]
            low, high = interval(differences)
            won, lost = (sum(each < 0 for each in differences), sum(each > 0 for each in differences))
            print(
                f"after {budget_s:g} s: {method} {median(a for a, _ in pairs):.4f}, random "
                f"{median(b for _, b in pairs):.4f}; median difference {median(differences):+.4f} "
                f"[{low:+.4f}, {high:+.4f}]; better in {won}, worse in {lost} of {len(pairs)} seeds"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=float, default=8.0, help="seconds of training of one search")
    parser.add_argument("--methods", nargs="+", default=["random", "evolution"])
    parser.add_argument("--out", type=Path, help="a file for all trials as JSON")
    given = parser.parse_args(arguments)
    overrides = [*SETTINGS, f"max_trials={MOST}"]
    trainer = Trainer(load_spec(SPEC, overrides))
    trainer.warm_up()
    found: dict[str, list[list[Run]]] = {method: [] for method in given.methods}
    for seed in range(given.seeds):
        for method in given.methods:
            found[method].append(search(trainer, method, seed, given.budget))
            best = best_at(found[method][-1], given.budget)
            print(f"seed {seed} {method}: {len(found[method][-1])} trials, best {best:.4f}", flush=True)
        if given.out:
            kept = {method: [[asdict(run) for run in each] for each in searches] for method, searches in found.items()}
            given.out.write_text(json.dumps({"budget_s": given.budget, "searches": kept}) + "\n")
    show(found, [given.budget / 4, given.budget / 2, given.budget])


if __name__ == "__main__":
    main()
