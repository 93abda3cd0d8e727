"""Leaderboards and listings, as tables that fit the terminal they are shown on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from optml_queue.cli import units
from optml_queue.cli.status import took_s
from optml_queue.trial import ParamValue, Trial, TrialState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optml_queue.cli.ranking import Standing
    from optml_queue.driver import Metric
    from optml_queue.store import Experiment, WorkerInfo

STYLES = {
    "complete": "green",
    "diverged": "yellow",
    "failed": "red",
    "running": "cyan",
    "queued": "dim",
    "paused": "yellow",
    "stopped_early": "blue",
    "cancelled": "dim",
    "stopped": "blue",
}
GAP = 2
SHORTEST_CUT = 8
SHORTEST_FOLD = 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text cells. In a narrow terminal those that are `cut` or `folded` give way, the others never."""

    title: str
    cells: Sequence[str]
    right: bool = False
    cut: bool = False
    folded: bool = False

    @property
    def width(self) -> int:
        """The width of the widest line."""
        return max(map(cell_len, [*self.title.split("\n"), *self.cells]))

    @property
    def least(self) -> int:
        """The width that it needs."""
        if self.cut:
            return min(self.width, SHORTEST_CUT)
        return min(self.width, SHORTEST_FOLD) if self.folded else self.width


def table(columns: Sequence[Column], width: int = 80, caption: str = "") -> Table:
    """Columns side by side, fitted into `width`; no lines but one below the titles."""
    drawn = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, GAP - 1, 0, 0),  # the box adds one blank between columns
        pad_edge=False,
        header_style="bold",
        caption=caption or None,
        caption_justify="left",
        caption_style="dim",
    )
    for column, its_width in zip(columns, widths(columns, width), strict=True):
        drawn.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.folded,
            overflow="fold" if column.folded else "ellipsis",
            width=its_width,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        drawn.add_row(*(Text(cell, style=STYLES.get(cell.replace(" ", "_"), "")) for cell in cells))
    return drawn


def widths(columns: Sequence[Column], width: int) -> list[int]:
    """A width for each column: what it would like, less what is missing, from those that are cut, then the folded."""
    found = [column.width for column in columns]
    missing = sum(found) + GAP * (len(columns) - 1) - width
    for i in sorted(range(len(columns)), key=lambda i: columns[i].folded):
        # A column that neither is cut nor folded needs all of its width: it has nothing to give.
        given = max(0, min(missing, found[i] - columns[i].least))
        found[i] -= given
        missing -= given
    return found


def least_width(columns: Sequence[Column]) -> int:
    """The width of the narrowest table that these columns make."""
    return sum(column.least for column in columns) + GAP * (len(columns) - 1)


Point = Mapping[str, ParamValue]


def narrow(column: Column) -> Column:
    """The column with its title broken behind underscores, into lines that are no wider than need be."""
    pieces = re.findall(r"[^_]*_+|[^_]+", column.title)
    room = max(map(cell_len, [*pieces, *column.cells]))
    lines = [""]
    for piece in pieces:
        if cell_len(lines[-1] + piece) <= room:
            lines[-1] += piece
        else:
            lines.append(piece)
    return replace(column, title="\n".join(lines))


def parameter_columns(points: Sequence[Point]) -> list[Column]:
    """One column a parameter, in order of appearance; a dash where a point lacks it."""
    names = dict.fromkeys(name for params in points for name in params)
    return [
        Column(name, [units.number(params.get(name)) for params in points], right=_is_numeric(points, name))
        for name in names
    ]


def _is_numeric(points: Sequence[Point], name: str) -> bool:
    values = [params[name] for params in points if name in params]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def shared(points: Sequence[Point]) -> Point:
    """The parameters that are the same in all of several points."""
    if len(points) < 2:
        return {}
    return {name: value for name, value in points[0].items() if all(params.get(name) == value for params in points)}


def fitted(before: Sequence[Column], points: Sequence[Point], after: Sequence[Column], width: int) -> Table:
    """A table of points between other columns.

    Parameters that never change are told once, below. When `width` is too small, the titles of the others are broken
    into lines, then the last columns are left out, and at last the parameters share one column.
    """
    fixed = shared(points)
    varied = [{name: value for name, value in params.items() if name not in fixed} for params in points]
    caption = f"{units.point(fixed)} throughout" if fixed else ""
    for parameters, kept in layouts(varied, after):
        columns = [*before, *parameters, *kept]
        if least_width(columns) <= width:
            break
    return table(columns, width, caption)


def layouts(points: Sequence[Point], after: Sequence[Column]) -> Iterator[tuple[list[Column], Sequence[Column]]]:
    """The columns of the parameters, and those of the columns after them that are kept; ever narrower ways."""
    apart = parameter_columns(points)
    yield apart, after
    together = Column("parameters", [units.point(params) for params in points], folded=True)
    for parameters in (list(map(narrow, apart)), [together]):
        for kept in range(len(after), 0, -1):
            yield parameters, after[:kept]


def leaderboard(standings: Sequence[Standing], metric: str, width: int = 80) -> Table:
    """Rank, trial, state, parameters, metric, duration, attempts and worker of the best points, best first.

    With several seeds a point's metric is its mean ± standard deviation, and the trial shown is its best one.
    """
    trials = [standing.trial for standing in standings]
    before = [
        Column("rank", [units.number(s.rank) for s in standings], right=True),
        Column("trial", [str(t.number) for t in trials], right=True),
        Column("state", [state_word(t.state) for t in trials]),
    ]
    if any(standing.of > 1 for standing in standings):
        before.append(Column("seeds", [seeds_cell(s) for s in standings], right=True))
    after = [
        Column(metric, [metric_cell(s, metric) for s in standings], right=True),
        Column("duration", [units.duration(t.run_s) for t in trials], right=True),
        Column("attempts", [str(t.attempts) for t in trials], right=True),
        Column("worker", [t.worker or units.NOTHING for t in trials], cut=True),
    ]
    return fitted(before, [t.params for t in trials], after, width)


def seeds_cell(standing: Standing) -> str:
    """`3`, or `2 of 3` when not every seed of the point is complete."""
    return str(standing.of) if standing.n == standing.of else f"{standing.n} of {standing.of}"


def metric_cell(standing: Standing, metric: str) -> str:
    """`0.08921`, or `0.08921 ± 0.0012` over several seeds; what was measured of a trial without a rank."""
    if standing.mean is None:
        return units.number(standing.trial.metrics.get(metric))
    if standing.sd is None:
        return units.number(standing.mean)
    return f"{units.number(standing.mean)} ± {standing.sd:.2g}"


def state_word(state: str) -> str:
    """A state as people write it: `stopped early`."""
    return state.replace("_", " ")


def trial_table(trials: Sequence[Trial], metric: str, width: int = 80) -> Table:
    """Trials one a row, in the order given; with the parents of those that evolution made of others."""
    before = [
        Column("trial", [str(t.number) for t in trials], right=True),
        Column("seed", [str(t.seed) for t in trials], right=True),
        Column("state", [state_word(t.state) if t.is_feasible else "infeasible" for t in trials]),
    ]
    if any(trial.parents for trial in trials):
        before.append(Column("parents", [", ".join(map(str, t.parents)) or units.NOTHING for t in trials], right=True))
    after = [
        Column(metric, [units.number(t.metrics.get(metric)) for t in trials], right=True),
        Column("duration", [units.duration(t.run_s) for t in trials], right=True),
        Column("attempts", [str(t.attempts) for t in trials], right=True),
        Column("worker", [t.worker or units.NOTHING for t in trials], cut=True),
    ]
    return fitted(before, [t.params for t in trials], after, width)


def front_table(trials: Sequence[Trial], metrics: Sequence[Metric], width: int = 80) -> Table:
    """Trials on the Pareto front one a row, with all metrics that the front is of."""
    before = [
        Column("trial", [str(t.number) for t in trials], right=True),
        Column("seed", [str(t.seed) for t in trials], right=True),
    ]
    after = [Column(m.name, [units.number(t.metrics[m.name]) for t in trials], right=True) for m in metrics]
    return fitted(before, [t.params for t in trials], after, width)


def failure_table(trials: Sequence[Trial], width: int = 80) -> Table:
    """Failed trials one a row: why, on which worker, after how many attempts, and what was said."""
    said = [(trial.error.strip().splitlines() or [units.NOTHING])[0] for trial in trials]
    columns = [
        Column("trial", [str(t.number) for t in trials], right=True),
        Column("reason", [t.reason.replace("_", " ") for t in trials]),
        Column("attempts", [str(t.attempts) for t in trials], right=True),
        Column("worker", [t.worker or units.NOTHING for t in trials], cut=True),
        Column("error", said, folded=True),
    ]
    return table(columns, width)


def experiment_table(experiments: Sequence[Experiment], width: int = 80) -> Table:
    """Experiments one a row, in the order given; a narrow terminal lacks the last columns, never a part of an id."""
    columns = [
        Column("experiment", [e.id for e in experiments]),
        Column("state", [e.state for e in experiments]),
        Column("done", [f"{units.count(e.terminal)}/{units.count(e.total)}" for e in experiments], right=True),
        Column("failed", [units.count(e.counts[TrialState.FAILED]) for e in experiments], right=True),
        Column("diverged", [units.count(e.counts[TrialState.DIVERGED]) for e in experiments], right=True),
        Column("submitted", [units.local_time(e.created_at, seconds=False) for e in experiments]),
        Column("took", [units.duration(took_s(e)) for e in experiments], right=True),
    ]
    while least_width(columns) > width and len(columns) > 1:
        columns.pop()
    return table(columns, width)


def labelled(rows: Sequence[tuple[str, str]]) -> Table:
    """Labels and texts side by side; a long text is folded below its own beginning."""
    drawn = Table.grid(padding=(0, GAP, 0, 0))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for label, text in rows:
        drawn.add_row(label, Text(text, style=STYLES.get(text, "")))
    return drawn


def worker_table(live: Iterable[WorkerInfo], now: float, width: int = 80) -> Table:
    """Living workers one a row, and what each does at `now` (seconds since the epoch)."""
    rows = sorted(live, key=lambda worker: (worker.resource_class, worker.name))
    return table(
        [
            Column("worker", [w.name for w in rows], cut=True),
            Column("class", [w.resource_class for w in rows]),
            Column("does", [activity(w, now) for w in rows], folded=True),
        ],
        width,
    )


def activity(worker: WorkerInfo, now: float) -> str:
    """`trial 7 of lms-sunspots-k3f9a for 1m 20s`, or `waits`."""
    if "experiment" not in worker.facts:
        return "waits"
    trial = f"trial {worker.facts['number']} of {worker.facts['experiment']}"
    return f"{trial} for {units.duration(max(0.0, now - worker.facts['since']))}"


def rendered(renderable: RenderableType, width: int = 80) -> str:
    """The text a terminal of `width` columns would show, without colours."""
    out = StringIO()
    Console(file=out, width=width, no_color=True, highlight=False, markup=False, emoji=False).print(renderable)
    return out.getvalue()
