"""The regrets of searches in one process: a row for each problem, method and number of workers; tables and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_problems import PROBLEMS

# In the order of the tables. Each is judged against Optuna's sampler of its kind, those that Optuna lacks against TPE.
METHODS = (
    "grid",
    "random",
    "evolution",
    "tpe",
    "optuna-tpe",
    "nsga2",
    "optuna-nsga2",
    "cma-es",
    "optuna-cma-es",
    "gp",
    "optuna-gp",
)
RESAMPLES = 10_000
SAID = """, or as many as stand in brackets:
best value found minus the function's minimum; for `digits_ann`, whose minimum is not known, the error rate itself.
Differences are to Optuna's sampler of the same kind, used in the ordinary way (those of `grid`, `random` and
`evolution` to its TPE): 95 % paired-bootstrap intervals of the median difference. Below 0 is better than Optuna; bold
intervals leave 0 out."""


def against(method: str) -> str | None:
    """What a method is judged against; None for what is the measure itself."""
    if method.startswith("optuna-"):
        return None
    return f"optuna-{method}" if f"optuna-{method}" in METHODS else "optuna-tpe"


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a median."""
    chance = np.random.default_rng(0)
    samples = chance.choice(np.asarray(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(samples, axis=1), (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Row:
    """The searches of one method: their regrets, one for each seed from 0 on."""

    problem: str
    workers: int
    method: str
    regrets: tuple[float, ...]

    @property
    def key(self) -> tuple[int, int, int]:
        """Where the row stands among others."""
        names = [problem.name for problem in PROBLEMS]
        return names.index(self.problem), self.workers, METHODS.index(self.method)


@dataclass(frozen=True, slots=True)
class Results:
    """Rows of searches of so many trials, in which our searchers suggest so many points `ahead` of need."""

    trials: int
    ahead: int
    rows: tuple[Row, ...] = ()

    def with_row(self, row: Row) -> Results:
        """These and a row, which takes the place of one of its problem, workers and method."""
        others = (each for each in self.rows if each.key != row.key)
        return Results(self.trials, self.ahead, tuple(sorted((*others, row), key=lambda each: each.key)))

    def difference(self, row: Row) -> tuple[float, float] | None:
        """The 95 % interval of the median difference to the row it is judged against, over the seeds of both."""
        for other in self.rows:
            if (other.problem, other.workers, other.method) == (row.problem, row.workers, against(row.method)):
                pairs = zip(row.regrets, other.regrets, strict=False)
                return interval([ours - theirs for ours, theirs in pairs])
        return None

    def to_json(self) -> dict[str, Any]:
        """The rows with what is computed from them."""
        rows = [
            {
                "problem": row.problem,
                "workers": row.workers,
                "method": row.method,
                "median_regret": statistics.median(row.regrets),
                "against": against(row.method),
                "difference_95": self.difference(row),
                "regrets": row.regrets,
            }
            for row in self.rows
        ]
        return {"trials": self.trials, "ahead": self.ahead, "rows": rows}

    def markdown(self) -> str:
        """For each number of workers the medians and the differences, a column for each problem."""
        usual = statistics.mode(len(row.regrets) for row in self.rows)
        lines = [f"Regret after {self.trials} trials, in one process, medians over {usual} seeds{SAID}"]
        for workers in sorted({row.workers for row in self.rows}):
            under_way = "1 trial at a time" if workers == 1 else f"{workers} trials under way"
            medians = {row: _median(row, usual) for row in self.rows if row.workers == workers}
            differences = {row: self._difference(row) for row in medians}
            lines += ["", f"## {under_way}", "", *_table("median regret", medians)]
            lines += ["", *_table("difference, 95 %", differences)]
        return "\n".join([*lines, ""])

    def _difference(self, row: Row) -> str:
        found = self.difference(row)
        if found is None:
            return ""
        low, high = found
        text = f"{low:+.2g} … {high:+.2g}"
        return f"**{text}**" if low > 0 or high < 0 else text


def _median(row: Row, usual: int) -> str:
    seeds = len(row.regrets)
    return f"{statistics.median(row.regrets):.3g}" + (f" ({seeds})" if seeds != usual else "")


def _table(head: str, cells: Mapping[Row, str]) -> Iterator[str]:
    """A line for each method that has a cell."""
    problems = list(dict.fromkeys(row.problem for row in cells))
    yield f"| {head} | {' | '.join(problems)} |"
    yield "|---" * (len(problems) + 1) + "|"
    for method in METHODS:
        found = {row.problem: cell for row, cell in cells.items() if row.method == method}
        if any(found.values()):
            yield f"| {method} | {' | '.join(found.get(problem, '') for problem in problems)} |"


def read(path: Path, trials: int, ahead: int) -> Results:
    """The results of a file, or none where there is no file. Raises ValueError when they are of another setting."""
    if not path.exists():
        return Results(trials, ahead)
    found = json.loads(path.read_text())
    if (found["trials"], found["ahead"]) != (trials, ahead):
        raise ValueError(
            f"{path}: has searches of {found['trials']} trials with {found['ahead']} ahead, not {trials} and {ahead}; "
            "name another folder"
        )
    rows = (Row(each["problem"], each["workers"], each["method"], tuple(each["regrets"])) for each in found["rows"])
    return Results(trials, ahead, tuple(rows))


def store(results: Results, folder: Path) -> None:
    """Table, figures and plot, as search-quality.* in a folder."""
    path = folder / "search-quality"
    path.with_suffix(".md").write_text(results.markdown())
    path.with_suffix(".json").write_text(json.dumps(results.to_json(), indent=1) + "\n")
    plot(results, path.with_suffix(".png"))


def plot(results: Results, path: Path) -> None:
    """A panel for each problem: every regret as a point, with the medians; one trial at a time beside several."""
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(row.problem for row in results.rows))
    counts = sorted({row.workers for row in results.rows})
    lines = -(-len(problems) // 2)
    figure = Figure(figsize=(12.0, 3.2 * lines), layout="constrained")
    for number, problem in enumerate(problems, 1):
        panel = figure.add_subplot(lines, 2, number)
        methods = [name for name in METHODS if any((r.problem, r.method) == (problem, name) for r in results.rows)]
        for row in (row for row in results.rows if row.problem == problem):
            side = counts.index(row.workers)
            x = methods.index(row.method) + 0.3 * (side - (len(counts) - 1) / 2)
            label = f"{row.workers} under way" if row.method == methods[0] else ""
            panel.scatter([x] * len(row.regrets), row.regrets, s=8, color=f"C{side}", alpha=0.4)
            panel.hlines(statistics.median(row.regrets), x - 0.13, x + 0.13, color=f"C{side}", label=label)
        panel.set_xticks(range(len(methods)), methods, rotation=45, ha="right")
        panel.set_yscale("log")
        panel.set_title(problem)
        panel.legend()
    figure.supylabel(f"regret after {results.trials} trials")
    figure.savefig(path, dpi=100)
