"""The metric over two numeric parameters, as contours: linear between trials, and nothing where there was none."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import Triangulation

from optml_queue.driver import Goal
from optml_queue.plots import look
from optml_queue.summary import value_of
from optml_queue.surface import Surface, drawn, surface, telling
from optml_queue.trial import ParamValue, Trial, TrialState

TRIALS_MAX = 200_000  # the first ones; more would change no mean that one could see
BANDS = 9
_DIVERGED_MAX = 1_000

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Side:
    """What lies along a side: values, or their logarithms to the base 10; nan where a trial has none."""

    name: str
    values: Column
    is_log: bool

    @classmethod
    def of(cls, name: str, values: Column) -> _Side:
        return cls(name, *drawn(values))

    def dress(self, axis: Any) -> None:
        """Ticks at round numbers of what was tried."""
        if self.is_log:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
            axis.set_major_formatter(FuncFormatter(lambda place, _: look.number(10.0**place)))


def contour_plot(
    trials: Iterable[Trial], parameters: Sequence[str], metric: str, goal: Goal, title: str
) -> bytes | None:
    """A PNG of 1600 × 1000 pixels: the metric over those two of `parameters` that explain most of it.

    None where no two numeric parameters take three values each, or all trials lie on one line.
    """
    columns, value, is_diverged = _columns(trials, parameters, metric)
    height, sides = _Side.of(metric, value), {name: _Side.of(name, each) for name, each in columns.items()}
    names = telling({name: side.values for name, side in sides.items()}, height.values)[:2]
    if len(names) < 2:
        return None
    x, y = (sides[name] for name in names)
    known = np.isfinite(height.values) & np.isfinite(x.values) & np.isfinite(y.values)
    made = surface(x.values[known], y.values[known], height.values[known])
    if made is None:
        return None
    others = len(parameters) > len(names)
    told = f"{int(known.sum()):,} complete trials{', means over all other parameters' if others else ''}"
    figure = look.canvas(title, told)
    axes = figure.add_subplot()
    axes.use_sticky_edges = False
    axes.margins(0.03)
    image = _fill(axes, made, goal)
    handles = axes.plot(made.x, made.y, "o", color="white", markersize=4.5, mec=look.INK, mew=0.8, label="tried")
    places = np.flatnonzero(is_diverged)[:_DIVERGED_MAX]
    if len(places):
        handles += axes.plot(x.values[places], y.values[places], label="diverged", **look.DIVERGED)
    best = np.flatnonzero(known)[(np.argmin if goal is Goal.MINIMIZE else np.argmax)(height.values[known])]
    handles += axes.plot(x.values[best], y.values[best], label="best", zorder=5, **look.BEST)
    look.bar(figure, axes, metric, image)
    for side, axis in ((x, axes.xaxis), (y, axes.yaxis), (height, figure.axes[-1].yaxis)):
        side.dress(axis)
    look.plain(axes)
    look.label_axis(axes, "x", x.name)
    look.label_axis(axes, "y", y.name)
    look.legend(figure, handles)
    return look.png(figure)


def _fill(axes: Axes, made: Surface, goal: Goal) -> Any:
    low, high = float(made.value.min()), float(made.value.max())
    levels = np.linspace(low, high, BANDS + 1) if high > low else np.array([low - 0.5, high + 0.5])
    name = "viridis_r" if goal is Goal.MINIMIZE else "viridis"
    return axes.tricontourf(Triangulation(made.x, made.y, made.triangles), made.value, levels=levels, cmap=name)


def _columns(
    trials: Iterable[Trial], parameters: Sequence[str], metric: str
) -> tuple[dict[str, Column], Column, npt.NDArray[np.bool_]]:
    """The parameters whose values are numbers, the metric (nan where a trial has no rank), and what diverged."""
    columns, value, is_diverged = {name: array("d") for name in parameters}, array("d"), array("b")
    labelled: set[str] = set()
    for trial in islice(trials, TRIALS_MAX):
        ranked = value_of(trial, metric)
        value.append(math.nan if ranked is None else ranked)
        is_diverged.append(trial.state is TrialState.DIVERGED)
        for name, column in columns.items():
            own = trial.params.get(name)
            column.append(_number(own))
            if own is not None and math.isnan(column[-1]):
                labelled.add(name)
    numeric = {name: np.array(column) for name, column in columns.items() if name not in labelled}
    return numeric, np.array(value), np.array(is_diverged, dtype=bool)


def _number(value: ParamValue | None) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
