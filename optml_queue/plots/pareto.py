"""Two metrics against each other, and the trials that no other one beats in both."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from optml_queue.dominance import undominated
from optml_queue.driver import Goal, Metric
from optml_queue.plots import look
from optml_queue.trial import Trial, TrialState

POINTS_MAX = 5_000  # of those off the front, an even sample

Column = npt.NDArray[np.float64]


def pareto_plot(trials: Iterable[Trial], metrics: Sequence[Metric], title: str) -> bytes | None:
    """A PNG of 1600 × 1000 pixels: the first two of `metrics`, the front of all of them, and what breaks a constraint.

    None where no complete trial has a finite value of each metric.
    """
    values, is_feasible = _columns(trials, metrics)
    if not len(values):
        return None
    signs = np.array([1.0 if metric.goal is Goal.MINIMIZE else -1.0 for metric in metrics])
    feasible = np.flatnonzero(is_feasible)
    front = feasible[undominated((values * signs)[feasible])]
    broken, others = np.flatnonzero(~is_feasible), np.setdiff1d(feasible, front)
    count = "trial is" if len(front) == 1 else "trials are"
    among = f" of {', '.join(metric.name for metric in metrics)}" if len(metrics) > 2 else ""
    figure = look.canvas(title, f"{len(front):,} of {len(values):,} complete {count} on the Pareto front{among}")
    axes = figure.add_subplot()
    look.plain(axes)
    handles: list[Line2D] = []
    for label, rows, style in (
        ("dominated", others, {"marker": "o", "color": look.BLUE, "alpha": 0.4, "markersize": 5, "mew": 0}),
        ("breaks a constraint", broken, look.FAILED | {"markersize": 6, "markeredgewidth": 1.3}),
    ):
        shown = rows[np.linspace(0, len(rows) - 1, min(len(rows), POINTS_MAX)).astype(np.int64)]
        if len(shown):
            handles += axes.plot(values[shown, 0], values[shown, 1], label=label, **({"linestyle": "none"} | style))
    handles += _draw_front(axes, values[front], metrics)
    for side, metric, column in zip("xy", metrics, values.T, strict=False):
        if look.spans_decades(column):
            getattr(axes, f"set_{side}scale")("log")
        better = "lower" if metric.goal is Goal.MINIMIZE else "higher"
        look.label_axis(axes, side, f"{metric.name} ({better} is better)")
    look.legend(figure, handles)
    return look.png(figure)


def _draw_front(axes: Axes, front: Column, metrics: Sequence[Metric]) -> list[Line2D]:
    """The trials on the front; of two metrics, as steps that bound what was reached."""
    if not len(front):
        return []
    ordered = front[np.argsort(front[:, 0])]
    where = "post" if metrics[0].goal is Goal.MINIMIZE else "pre"
    steps: dict[str, Any] = {"drawstyle": f"steps-{where}", "linewidth": 1.6}
    style = steps if len(metrics) == 2 else {"linestyle": "none"}
    marks: dict[str, Any] = {"marker": "o", "markersize": 7, "color": look.ORANGE, "zorder": 4}
    return axes.plot(ordered[:, 0], ordered[:, 1], label="Pareto front", **marks, **style)


def _columns(trials: Iterable[Trial], metrics: Sequence[Metric]) -> tuple[Column, npt.NDArray[np.bool_]]:
    """The metrics of complete trials that have all of them, (trials, metrics), and whether each is feasible."""
    values, is_feasible = array("d"), array("b")
    for trial in trials:
        measured = [trial.metrics.get(metric.name, math.nan) for metric in metrics]
        if trial.state is TrialState.COMPLETE and all(map(math.isfinite, measured)):
            values.extend(measured)
            is_feasible.append(trial.is_feasible)
    return np.array(values).reshape(-1, len(metrics)), np.array(is_feasible, dtype=bool)
