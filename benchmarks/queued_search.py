"""The search through the real queue, with real workers, against Optuna's own way with as many processes.

`search_quality.py --queue` runs it. Optuna's processes share a study in a journal on a server of the same kind
(`JournalRedisBackend`): each asks, evaluates and tells by itself. Both sides have the same sampler with the same
settings, the same budget of trials and the same length of a trial, and run at the same time on the same machine. Only
their dice differ: the seed of our search is that of the run, Optuna's processes have seeds of their own, from it too.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.storages.journal import JournalRedisBackend, JournalStorage

from benchmarks.search_problems import Problem
from optml_queue.driver import load_driver
from optml_queue.search.optuna_samplers import sampler
from optml_queue.search.optuna_search import suggested
from optml_queue.spec import Algorithm, Spec, parse_spec
from tests.cluster import Cluster, cluster
from tests.valkey_server import valkey_server

ROOT = Path(__file__).resolve().parent.parent
ALGORITHM = ROOT / "benchmarks" / "test_functions"
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Course:
    """One search: its regret, how long it took, and how many results a point was chosen without (mean)."""

    regret: float
    took_s: float
    unknown: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What both sides have in common."""

    trials: int
    workers: int
    sleep_s: float


def spec_of(problem: Problem, method: str, seed: int, setting: Setting) -> Spec:
    """The search as an experiment."""
    text = (
        f"name: {problem.name}\nalgorithm: {ALGORITHM.name}\nmethod: {method}\nseed: {seed}\n"
        f"max_trials: {setting.trials}\nparameters:\n"
        f"  function: {{value: {problem.name}}}\n  sleep_s: {{value: {setting.sleep_s}}}\n{problem.parameters}"
    )
    found = parse_spec(text, "search.yaml", ROOT, drivers={ALGORITHM.name: load_driver(ALGORITHM)})
    return replace(found, code=Algorithm(str(ALGORITHM)))


def ours(workers: Cluster, problem: Problem, method: str, seed: int, setting: Setting) -> Course:
    """A search through the queue."""
    experiment = workers.submit_spec(spec_of(problem, method, seed, setting))
    workers.end(experiment, LIMIT_S)
    trials = workers.trials(experiment)
    ends = [trial.finished_at for trial in trials if trial.finished_at is not None]
    starts = [trial.started_at for trial in trials if trial.started_at is not None]
    best = min(trial.metrics["value"] for trial in trials)
    unknown = statistics.fmean(trial.number - trial.origin["seen"] for trial in trials)
    return Course(best - problem.minimum, max(ends) - min(starts), unknown)


class Rivals:
    """Optuna's processes, which wait for studies to work on."""

    def __init__(self, url: str, workers: int) -> None:
        self._url = url
        start = multiprocessing.get_context("spawn")
        pipes = [start.Pipe() for _ in range(workers)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            start.Process(target=work, args=(url, place, theirs), daemon=True)
            for place, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()

    def run(self, problem: Problem, method: str, seed: int, setting: Setting) -> Course:
        """A search by all of them."""
        name = f"{problem.name}-{method}-{seed}"
        optuna.create_study(storage=storage(self._url), study_name=name)
        began_at = time.monotonic()
        for pipe in self._pipes:
            pipe.send((name, problem.name, method, seed, setting))
        unknown = [count for pipe in self._pipes for count in pipe.recv()]
        took_s = time.monotonic() - began_at
        study = optuna.load_study(storage=storage(self._url), study_name=name, sampler=optuna.samplers.RandomSampler())
        return Course(float(study.best_value) - problem.minimum, took_s, statistics.fmean(unknown))

    def end(self) -> None:
        """They have no more to do."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(30)


def storage(url: str) -> JournalStorage:
    """The journal that the processes share."""
    return JournalStorage(JournalRedisBackend(url))


def work(url: str, place: int, pipe: Connection) -> None:
    """What each of Optuna's processes does."""
    from benchmarks.search_problems import PROBLEMS

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problems = {problem.name: problem for problem in PROBLEMS}
    while (task := pipe.recv()) is not None:
        name, problem, method, seed, setting = task
        pipe.send(part(url, name, problems[problem], method, 1_000 * (seed + 1) + place, setting))


def part(url: str, name: str, problem: Problem, method: str, seed: int, setting: Setting) -> list[int]:
    """Work on a study until its budget is spent; how many results each point was chosen without."""
    chosen_by = sampler(method, seed)
    study = optuna.load_study(study_name=name, storage=storage(url), sampler=chosen_by)
    unknown = []
    while (trial := study.ask()).number < setting.trials:
        known = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        unknown.append(trial.number - len(known))
        point = suggested(trial, problem.space)
        time.sleep(setting.sleep_s)
        study.tell(trial, problem.cost(point))
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return unknown


@contextmanager
def both_sides(setting: Setting) -> Iterator[tuple[Cluster, Rivals]]:
    """Workers of either side, each with a server of its own."""
    with (
        valkey_server() as server,
        valkey_server() as other,
        TemporaryDirectory() as folder,
        cluster({"OPTML_BROKER_URL": server.url}, Path(folder), setting.workers) as workers,
    ):
        rivals = Rivals(other.url, setting.workers)
        try:
            yield workers, rivals
        finally:
            rivals.end()


@dataclass(frozen=True, slots=True)
class Side:
    """All searches of one side for one problem: their regrets, and medians (of `unknown`: mean) of the rest."""

    regrets: tuple[float, ...]
    median_regret: float
    median_s: float
    unknown: float

    @classmethod
    def of(cls, courses: Sequence[Course]) -> Side:
        regrets = tuple(course.regret for course in courses)
        took_s = statistics.median(course.took_s for course in courses)
        return cls(regrets, statistics.median(regrets), took_s, statistics.fmean(each.unknown for each in courses))


@dataclass(frozen=True, slots=True)
class Row:
    """One problem under one method; `low` … `high` is the 95 % interval of the median difference, ours − Optuna's."""

    problem: str
    method: str
    ours: Side
    optuna: Side
    low: float
    high: float

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Row:
        sides = {
            name: Side(**{**fields[name], "regrets": tuple(fields[name]["regrets"])}) for name in ("ours", "optuna")
        }
        return cls(**{**fields, **sides})

    def line(self) -> str:
        """A table's row."""
        mine, theirs = self.ours, self.optuna
        regrets = f"{mine.median_regret:.3g} | {theirs.median_regret:.3g} | {self.low:+.2g} … {self.high:+.2g}"
        times = f"{mine.median_s:.1f} | {theirs.median_s:.1f} | {mine.unknown:.1f} | {theirs.unknown:.1f}"
        return f"| {self.problem} | {self.method} | {len(mine.regrets)} | {regrets} | {times} |"


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that were measured together."""

    setting: Setting
    rows: tuple[Row, ...]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Run:
        return cls(Setting(**fields["setting"]), tuple(map(Row.from_dict, fields["rows"])))

    def without(self, rows: Sequence[Row]) -> Run:
        """The run less what these rows show anew."""
        anew = {(row.problem, row.method) for row in rows}
        return Run(self.setting, tuple(row for row in self.rows if (row.problem, row.method) not in anew))

    def table(self) -> str:
        setting = self.setting
        said = (
            f"{setting.trials} trials of {setting.sleep_s:g} s, {setting.workers} workers on this side and processes "
            "on Optuna's, both at the same time on one machine:"
        )
        return "\n".join([said, "", HEAD, *(row.line() for row in self.rows), ""])


HEAD = """| problem | method | seeds | median regret | Optuna | difference, 95 % | s | Optuna | unknown results | its |
|---|---|---|---|---|---|---|---|---|---|"""
REGRET = (
    "Regret: best value found minus the function's minimum; for `digits_ann`, whose minimum is not known, the error "
    "rate itself. A table for each run: what was not measured together differs by the machine's other work, too."
)


def compared(
    wanted: Sequence[tuple[Problem, str, int]],
    setting: Setting,
    interval: Callable[[Sequence[float]], tuple[float, float]],
) -> Run:
    """Run so many searches of each problem by each method; a row is printed as soon as it is known.

    `interval` is that of a median.
    """
    rows = []
    print(HEAD, flush=True)
    with both_sides(setting) as (workers, rivals), ThreadPoolExecutor(2) as side:
        first, method, _ = wanted[0]
        for run in (partial(ours, workers), rivals.run):  # everything is imported
            run(first, method, 999, replace(setting, trials=20))
        for problem, method, seeds in wanted:
            mine, theirs = [], []
            for seed in range(seeds):
                one = side.submit(ours, workers, problem, method, seed, setting)
                other = side.submit(rivals.run, problem, method, seed, setting)
                mine.append(one.result())
                theirs.append(other.result())
            differences = [a.regret - b.regret for a, b in zip(mine, theirs, strict=True)]
            rows.append(Row(problem.name, method, Side.of(mine), Side.of(theirs), *interval(differences)))
            print(rows[-1].line(), flush=True)
    return Run(setting, tuple(rows))


def read(path: Path) -> list[Run]:
    """The runs of a file, none where there is no file."""
    return [Run.from_dict(each) for each in json.loads(path.read_text())["runs"]] if path.exists() else []


def store(run: Run, folder: Path) -> None:
    """Table, figures and plot, as search-quality-queue.* in a folder, with those of earlier runs that it lacks."""
    path = folder / "search-quality-queue"
    earlier = [each.without(run.rows) for each in read(path.with_suffix(".json"))]
    runs = [*(each for each in earlier if each.rows), run]
    path.with_suffix(".md").write_text("\n".join([REGRET, "", *(each.table() for each in runs)]))
    path.with_suffix(".json").write_text(json.dumps({"runs": [asdict(each) for each in runs]}, indent=1) + "\n")
    plot([row for each in runs for row in each.rows], path.with_suffix(".png"))


def plot(rows: Sequence[Row], path: Path) -> None:
    """Every regret as a point, both sides beside each other, with their medians."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 1.5 * len(rows), 4.0), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        for side, x, colour in ((row.ours, place - 0.15, "C0"), (row.optuna, place + 0.15, "C1")):
            label = "" if place else ("through the queue" if side is row.ours else "Optuna, distributed")
            axes.scatter([x] * len(side.regrets), side.regrets, s=12, color=colour, alpha=0.5, label=label)
            axes.hlines(side.median_regret, x - 0.1, x + 0.1, color=colour)
    axes.set_xticks(range(len(rows)), [f"{row.problem}\n{row.method}" for row in rows])
    axes.set_yscale("log")
    axes.set_ylabel("regret after so many trials")
    axes.legend()
    figure.savefig(path, dpi=120)
