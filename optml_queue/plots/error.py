"""Error versus hyper-parameter configuration, as one picture.

One varied parameter is drawn along an axis, two as a map, more as one panel for each. A point shows the mean of
its complete trials and their standard deviation over seeds. Diverged and failed points are marked and never
stretch a scale.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from optml_queue.driver import Goal
from optml_queue.plots import look
from optml_queue.summary import value_of
from optml_queue.trial import Params, ParamValue, Trial, TrialState, encode

POINTS_MAX = 5_000
PANELS_MAX = 6
_CELLS_MAX = 40  # values along one side of a map, beyond which it becomes a scatter
_TEXTS_MAX = 150  # cells of a map that still have room for their value
_TICKS_MAX = 8  # values of a parameter that are all named on its axis

_SMALL = {"markersize": 5, "markeredgewidth": 1.2}


@dataclass(slots=True)
class _Point:
    """A point of the search space and what its trials came to."""

    params: Params
    values: list[float] = field(default_factory=list)
    diverged: int = 0
    failed: int = 0

    def add(self, trial: Trial, metric: str) -> None:
        value = value_of(trial, metric)
        if value is not None:
            self.values.append(value)
        self.diverged += trial.state is TrialState.DIVERGED
        self.failed += trial.state is TrialState.FAILED

    def merge(self, other: _Point) -> None:
        self.values += other.values
        self.diverged += other.diverged
        self.failed += other.failed

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a picture shows. `best` is the best complete point none of whose seeds diverged, if there is one."""

    points: list[_Point]
    is_sample: bool
    metric: str
    goal: Goal
    best: _Point | None

    @property
    def complete(self) -> list[_Point]:
        return [point for point in self.points if point.values]

    @property
    def heights(self) -> list[_Point]:
        """The complete points that a scale of colours is made of."""
        return [point for point in self.complete if not point.diverged]

    @property
    def diverged(self) -> list[_Point]:
        return [point for point in self.points if point.diverged]

    @property
    def failed(self) -> list[_Point]:
        return [point for point in self.points if point.failed and not point.values and not point.diverged]


def error_plot(trials: Iterable[Trial], parameters: Sequence[str], metric: str, goal: Goal, title: str) -> bytes:
    """A PNG of 1600 × 1000 pixels: the metric over those of `parameters` that vary.

    Takes trials in the order of their numbers. Of more than 5,000 points it shows an even sample, the best and
    the worst among it; memory is bounded by that.
    """
    scene = _scene(trials, metric, goal)
    varied = [name for name in parameters if len({_key(p.params, name) for p in scene.points}) > 1]
    figure = look.canvas(title, _head(scene))
    if len(varied) > 2:
        _draw_slices(figure, scene, varied)
    elif len(varied) == 2:
        _draw_pair(figure, scene, varied[0], varied[1])
    else:
        _draw_line(figure.add_subplot(), scene, varied[0] if varied else next(iter(parameters), ""))
    return look.png(figure)


# What is shown


def _scene(trials: Iterable[Trial], metric: str, goal: Goal) -> _Scene:
    sign = 1.0 if goal is Goal.MINIMIZE else -1.0
    sample = _Sample(lambda point: sign * point.mean)
    for _, group in groupby(trials, key=lambda trial: encode(trial.params)):
        sample.add(_point(list(group), metric))
    points = sample.points()
    rivals = [point for point in points if point.values and not point.diverged]
    best = min(rivals, key=lambda point: sign * point.mean, default=None)
    return _Scene(points, sample.is_sample, metric, goal, best)


def _point(trials: Sequence[Trial], metric: str) -> _Point:
    point = _Point(trials[0].params)
    for trial in trials:
        point.add(trial, metric)
    return point


class _Sample:
    """Up to POINTS_MAX points, those with the smallest hashes: an even choice that the order does not change."""

    def __init__(self, badness: Callable[[_Point], float]) -> None:
        self._badness = badness
        self._kept: dict[str, _Point] = {}
        self._hashes: list[tuple[int, str]] = []
        self._best: _Point | None = None
        self._worst: _Point | None = None
        self.is_sample = False

    def add(self, point: _Point) -> None:
        key = encode(point.params)
        if key in self._kept:
            self._kept[key].merge(point)
            return
        self._note_extremes(point)
        self._kept[key] = point
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        heapq.heappush(self._hashes, (-int.from_bytes(digest, "big"), key))
        if len(self._kept) > POINTS_MAX:
            self.is_sample = True
            del self._kept[heapq.heappop(self._hashes)[1]]

    def points(self) -> list[_Point]:
        extremes = {encode(each.params): each for each in (self._best, self._worst) if each is not None}
        return list((self._kept | {key: each for key, each in extremes.items() if key not in self._kept}).values())

    def _note_extremes(self, point: _Point) -> None:
        if not point.values or point.diverged:
            return
        if self._best is None or self._badness(point) < self._badness(self._best):
            self._best = point
        if self._worst is None or self._badness(point) > self._badness(self._worst):
            self._worst = point


# Axes and words


class _Scale:
    """Where a parameter's values stand along an axis: numbers at their size, all else side by side."""

    def __init__(self, name: str, points: Sequence[_Point]) -> None:
        self.name = name
        values = {_key(p.params, name): p.params[name] for p in points if name in p.params}
        self.is_numeric = bool(values) and all(_is_number(value) for value in values.values())
        if self.is_numeric or all(_is_sizes(value) for value in values.values()):
            values = dict(sorted(values.items(), key=lambda item: item[1]))
        self.values = list(values.values())
        self._places = {key: place for place, key in enumerate(values)}

    @property
    def is_log(self) -> bool:
        return self.is_numeric and look.spans_decades([float(value) for value in self.values])  # type: ignore[arg-type]

    def place(self, point: _Point) -> float | None:
        """The coordinate of a point; None when the parameter plays no part in it."""
        value = point.params.get(self.name)
        if value is None:
            return None
        return float(value) if self.is_numeric else self.index(point)  # type: ignore[arg-type]

    def index(self, point: _Point) -> int:
        return self._places[_key(point.params, self.name)]

    def dress(self, axes: Axes, side: str) -> None:
        """Scale, ticks and label of the axis `side`, "x" or "y"."""
        axis = getattr(axes, f"{side}axis")
        if self.is_log:
            getattr(axes, f"set_{side}scale")("log")
        look.label_axis(axes, side, self.name)
        if not self.is_numeric:
            self.dress_places(axes, side)
        elif len(self.values) <= _TICKS_MAX and not self._is_crowded():
            axis.set_ticks([float(v) for v in self.values], _texts(self.values))  # type: ignore[arg-type]
            axis.set_minor_locator(NullLocator())
            axis.set_minor_formatter(NullFormatter())

    def dress_places(self, axes: Axes, side: str) -> None:
        """Name the values at 0, 1, 2 …, leaving some out when there are many."""
        axis = getattr(axes, f"{side}axis")
        step = max(1, math.ceil(len(self.values) / 24))
        places = range(0, len(self.values), step)
        labels = _texts([self.values[place] for place in places])
        turned = side == "x" and sum(map(len, labels)) > 90
        extra: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if turned else {}
        axis.set_ticks(list(places), labels, parse_math=False, **extra)

    def _is_crowded(self) -> bool:
        numbers = [float(value) for value in self.values]  # type: ignore[arg-type]
        if self.is_log:
            numbers = [math.log(number) for number in numbers]
        span = numbers[-1] - numbers[0]
        return any(b - a < 0.06 * span for a, b in pairwise(numbers))


def _head(scene: _Scene) -> str:
    """What a picture says of itself below its title."""
    counts = {
        "complete": len(scene.complete),
        "diverged": len(scene.diverged),
        "failed": len(scene.failed),
    }
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "nothing finished yet"
    of = "a sample of " if scene.is_sample else ""
    noun = "point" if len(scene.points) == 1 else "points"
    text = f"{of}{len(scene.points):,} {noun}: {told}"
    return text if scene.best is None else f"{text}  ·  best {scene.metric} {look.number(scene.best.mean)}"


# One parameter


def _draw_line(axes: Axes, scene: _Scene, name: str) -> None:
    scale = _Scale(name, scene.points)
    look.plain(axes)
    handles = _draw_curve(axes, scene, scale)
    if not scene.complete:
        look.empty(axes)
        axes.set_yticks([])
    look.label_axis(axes, "y", scene.metric)
    handles += _draw_casualties(axes, scene, scale)
    if scene.best is not None and (x := scale.place(scene.best)) is not None:
        handles += axes.plot([x], [scene.best.mean], label="best", zorder=5, **look.BEST)
        _name_best(axes, scene, x, scene.best.mean, _text(scene.best.params[name]))
    scale.dress(axes, "x")
    look.legend(axes.get_figure(), handles)  # type: ignore[arg-type]


def _draw_curve(axes: Axes, scene: _Scene, scale: _Scale) -> list[Any]:
    placed = [(scale.place(point), point) for point in scene.complete]
    ordered = sorted(((x, p) for x, p in placed if x is not None), key=lambda pair: pair[0])
    if not ordered:
        return []
    x = [place for place, _ in ordered]
    means = np.array([point.mean for _, point in ordered])
    spread = np.array([point.sd for _, point in ordered])
    if look.spans_decades(means):
        axes.set_yscale("log")
        # A bar below zero has no end on a log axis: it stops at a tenth of the mean.
        spread = np.vstack([np.minimum(spread, 0.9 * means), spread])
    else:
        spread = np.vstack([spread, spread])
    axes.margins(y=0.16)
    if spread.any():
        axes.errorbar(x, means, spread, fmt="none", ecolor=look.BLUE, alpha=0.55, capsize=3, elinewidth=1.2)
    seeds = max(len(point.values) for _, point in ordered)
    label = f"mean ± sd over {seeds} seeds" if seeds > 1 else "complete"
    style = "none" if not scale.is_numeric or len(x) > 400 else "-"
    marker = 7.0 if len(x) <= 60 else 3.5
    return axes.plot(
        x, means, marker="o", color=look.BLUE, markersize=marker, linewidth=1.4, linestyle=style, label=label
    )


def _draw_casualties(axes: Axes, scene: _Scene, scale: _Scale) -> list[Any]:
    """Diverged and failed points, at the edge where bad values are: they have a place, but no height."""
    edge, inward = (0.972, -0.035) if scene.goal is Goal.MINIMIZE else (0.028, 0.035)
    is_panel = len(axes.get_figure().axes) > 1  # type: ignore[union-attr]
    handles: list[Any] = []
    for label, points, style, height in (
        ("diverged", scene.diverged, look.DIVERGED, edge),
        ("failed", scene.failed, look.FAILED, edge + inward),
    ):
        x = sorted({place for point in points if (place := scale.place(point)) is not None})
        if x:
            handles += axes.plot(
                x,
                [height] * len(x),
                transform=axes.get_xaxis_transform(),
                label=label,
                zorder=4,
                clip_on=False,
                **(style | (_SMALL if is_panel else {})),
            )
    return handles


def _name_best(axes: Axes, scene: _Scene, x: float, y: float, where: str) -> None:
    below = scene.goal is Goal.MINIMIZE
    axes.annotate(
        f"{look.number(y)} at {where}",
        (x, y),
        xytext=(0, -16 if below else 16),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        fontsize=10.5,
        fontweight="bold",
        color=look.ORANGE,
        parse_math=False,
    )


# Two parameters


def _draw_pair(figure: Figure, scene: _Scene, first: str, second: str) -> None:
    axes = figure.add_subplot()
    scales = _Scale(first, scene.points), _Scale(second, scene.points)
    sides = [len(scale.values) for scale in scales]
    is_grid = max(sides) <= _CELLS_MAX and len(scene.points) >= 0.5 * sides[0] * sides[1]
    draw = _draw_map if is_grid else _draw_scatter
    draw(figure, axes, scene, *scales)


def _draw_map(figure: Figure, axes: Axes, scene: _Scene, across: _Scale, up: _Scale) -> None:
    values = np.full((len(up.values), len(across.values)), np.nan)
    cells = {(across.index(p), up.index(p)): p for p in scene.points if {across.name, up.name} <= p.params.keys()}
    for (x, y), point in cells.items():
        if point.values and not point.diverged:
            values[y, x] = point.mean
    image = axes.imshow(
        values, origin="lower", aspect="auto", interpolation="nearest", **look.colours(scene.goal, values)
    )
    if values.size <= _TEXTS_MAX:
        axes.set_xticks(np.arange(0.5, values.shape[1] - 1), minor=True)
        axes.set_yticks(np.arange(0.5, values.shape[0] - 1), minor=True)
        axes.grid(True, which="minor", color="white", linewidth=2)
    for scale, side in ((across, "x"), (up, "y")):
        scale.dress_places(axes, side)
        look.label_axis(axes, side, scale.name)
    axes.tick_params(which="both", length=0, labelsize=10, colors=look.INK)
    axes.spines[:].set_visible(False)
    handles = _draw_bad_cells(axes, cells)
    if scene.best is not None and {across.name, up.name} <= scene.best.params.keys():
        handles.append(_frame(axes, across.index(scene.best), up.index(scene.best)))
    if values.size <= _TEXTS_MAX:
        _write_cells(axes, values, image)
    if scene.heights:
        look.bar(figure, axes, scene.metric, image)
    look.legend(figure, handles)


def _draw_bad_cells(axes: Axes, cells: Mapping[tuple[int, int], _Point]) -> list[Any]:
    handles: list[Any] = []
    diverged = [place for place, point in cells.items() if point.diverged]
    failed = [place for place, p in cells.items() if p.failed and not p.values and not p.diverged]
    for label, places, style, shade in (
        ("diverged", diverged, look.DIVERGED, "#fbeceb"),
        ("failed", failed, look.FAILED, "#eef0f2"),
    ):
        for x, y in places:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="none"))
        if places:
            x_places, y_places = zip(*places, strict=True)
            size = {} if len(cells) <= _TEXTS_MAX else _SMALL
            handles += axes.plot(x_places, y_places, label=label, **(style | size))
    return handles


def _frame(axes: Axes, x: int, y: int) -> Rectangle:
    frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=look.ORANGE, linewidth=3.5, zorder=5)
    frame.set_clip_on(False)
    frame.set_label("best")
    axes.add_patch(frame)
    return frame


def _write_cells(axes: Axes, values: npt.NDArray[np.float64], image: ScalarMappable) -> None:
    for (y, x), value in np.ndenumerate(values):
        if math.isfinite(value):
            red, green, blue, _ = image.to_rgba(np.asarray(value))
            ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else look.INK
            axes.text(x, y, look.number(value), ha="center", va="center", fontsize=10, color=ink)


def _draw_scatter(figure: Figure, axes: Axes, scene: _Scene, across: _Scale, up: _Scale) -> None:
    look.plain(axes)

    def places(points: Iterable[_Point]) -> tuple[list[float], list[float], list[_Point]]:
        pairs = [(across.place(p), up.place(p), p) for p in points]
        kept = [(x, y, p) for x, y, p in pairs if x is not None and y is not None]
        return [x for x, _, _ in kept], [y for _, y, _ in kept], [p for _, _, p in kept]

    handles: list[Any] = []
    for label, bad, style in (("diverged", scene.diverged, look.DIVERGED), ("failed", scene.failed, look.FAILED)):
        x, y, _ = places(bad)
        if x:
            handles += axes.plot(x, y, label=label, **(style | _SMALL))
    x, y, points = places(scene.heights)
    if points:
        means = np.array([point.mean for point in points])
        size = 60 if len(points) <= 500 else 14
        dots = axes.scatter(
            x, y, c=means, s=size, edgecolors="white", linewidths=0.4, **look.colours(scene.goal, means)
        )
        look.bar(figure, axes, scene.metric, dots)
    else:
        look.empty(axes)
    x, y, _ = places([scene.best] if scene.best is not None else [])
    if x:
        handles += axes.plot(x, y, label="best", **look.BEST)
    across.dress(axes, "x")
    up.dress(axes, "y")
    look.legend(figure, handles)


# More parameters


def _draw_slices(figure: Figure, scene: _Scene, varied: Sequence[str]) -> None:
    shown = varied[:PANELS_MAX]
    columns = math.ceil(len(shown) / (1 if len(shown) <= 3 else 2))
    rows = math.ceil(len(shown) / columns)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    handles: list[Any] = []
    for axes, name in zip(grid.flat, shown, strict=False):
        handles += _draw_slice(axes, scene, _Scale(name, scene.points))
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        look.label_axis(axes, "y", scene.metric)
    if len(varied) > len(shown):
        text = f"{len(shown)} of {len(varied)} varied parameters"
        figure.text(0.985, 0.012, text, ha="right", fontsize=9, color=look.MUTED)
    look.legend(figure, handles)


def _draw_slice(axes: Axes, scene: _Scene, scale: _Scale) -> list[Any]:
    """All points over one parameter, and the best at each of its values."""
    look.plain(axes)
    placed = ((scale.place(point), point) for point in scene.complete)
    at = [(place, point) for place, point in placed if place is not None]
    handles: list[Any] = []
    if at:
        x, means = [place for place, _ in at], np.array([point.mean for _, point in at])
        if look.spans_decades(means):
            axes.set_yscale("log")
        alpha = max(0.12, min(0.7, 60 / len(at)))
        handles += axes.plot(
            x, means, "o", color=look.BLUE, markersize=5, alpha=alpha, markeredgewidth=0, label="_points"
        )
        axes.margins(x=0.08, y=0.14)
        if len(scale.values) <= _CELLS_MAX:
            pick = min if scene.goal is Goal.MINIMIZE else max
            best = sorted((place, pick(p.mean for each, p in at if each == place)) for place in set(x))
            style = "-" if scale.is_numeric else "none"
            handles += axes.plot(
                *zip(*best, strict=True),
                color=look.ORANGE,
                marker="o",
                markersize=5,
                linestyle=style,
                linewidth=1.4,
                label="best at each value",
            )
    else:
        look.empty(axes)
    handles += _draw_casualties(axes, scene, scale)
    if scene.best is not None and (place := scale.place(scene.best)) is not None:
        handles += axes.plot([place], [scene.best.mean], label="best", zorder=5, **look.BEST)
    scale.dress(axes, "x")
    return handles


# Values


def _key(params: Params, name: str) -> str:
    return encode(params[name]) if name in params else ""


def _is_number(value: ParamValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_sizes(value: ParamValue) -> bool:
    return isinstance(value, list) and all(_is_number(item) for item in value)


def _text(value: ParamValue, digits: int = 6) -> str:
    match value:
        case float():
            text = f"{value:.{digits}g}"
        case str():
            text = value
        case _:
            text = encode(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _texts(values: Sequence[ParamValue]) -> list[str]:
    """Labels with as few digits as tell the values apart, three at least."""
    for digits in range(3, 17):
        texts = [_text(value, digits) for value in values]
        if len(set(texts)) == len(values):
            break
    return texts
