"""What all pictures have in common: size, colours, axes, words.

Only matplotlib's objects are used: no pyplot, no state that processes or threads would share.
"""

from __future__ import annotations

import io
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from optml_queue.driver import Goal

_LOG_SPAN = 100.0  # two decades

INK, MUTED, GRID = "#1c2530", "#66707c", "#e3e7ec"
BLUE, ORANGE, RED, GREY = "#2166ac", "#e66101", "#c0262d", "#8a929c"
DIVERGED: dict[str, Any] = {"marker": "x", "color": RED, "markersize": 9, "markeredgewidth": 2.0, "linestyle": "none"}
FAILED = DIVERGED | {"color": GREY, "marker": "+"}
BEST: dict[str, Any] = {
    "marker": "o",
    "markersize": 16,
    "markerfacecolor": "none",
    "markeredgecolor": ORANGE,
    "markeredgewidth": 2.5,
    "linestyle": "none",
}


def canvas(title: str, told: str) -> Figure:
    """An empty picture of 1600 × 1000 pixels with its head."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, rect=(0, 0, 1, 0.9))
    figure = Figure(figsize=(10, 6.25), dpi=160, facecolor="white", layout=layout)
    figure.text(0.018, 0.965, title, fontsize=15, fontweight="bold", color=INK, va="center", parse_math=False)
    figure.text(0.018, 0.918, told, fontsize=11, color=MUTED, va="center", parse_math=False)
    return figure


def plain(axes: Axes) -> None:
    """A grid that stays behind, and no frame."""
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=10, color=MUTED, which="both")


def label_axis(axes: Axes, side: str, text: str) -> None:
    """Name the axis `side`, "x" or "y"."""
    getattr(axes, f"set_{side}label")(text, fontsize=12, color=INK, labelpad=6, parse_math=False)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Say what the marks mean, unless there is but one kind."""
    named = {handle.get_label(): handle for handle in handles if not handle.get_label().startswith("_")}
    if named.keys() <= {"complete"}:
        return
    shown = figure.legend(
        named.values(),
        named.keys(),
        loc="upper right",
        bbox_to_anchor=(0.985, 0.985),
        ncols=len(named),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    for text in shown.get_texts():
        text.set_parse_math(False)


def empty(axes: Axes) -> None:
    """Say that there is nothing to see."""
    axes.text(0.5, 0.5, "no complete trial", transform=axes.transAxes, fontsize=14, color=MUTED, ha="center")


def spans_decades(values: Sequence[float] | npt.NDArray[np.float64]) -> bool:
    """Whether a log axis reads better: two decades or more, and half of the values in the lowest tenth."""
    if len(values) == 0 or not min(values) > 0:
        return False
    low, high = min(values), max(values)
    return bool(high / low >= _LOG_SPAN and statistics.median(values) - low < 0.1 * (high - low))


def colours(goal: Goal, values: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Bright is good, whatever the goal; logarithmic where values span decades."""
    finite = values[np.isfinite(values)]
    name = "viridis_r" if goal is Goal.MINIMIZE else "viridis"
    if not finite.size:
        return {"cmap": name, "norm": Normalize(0, 1)}
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = low - abs(low or 1.0), high + abs(high or 1.0)
    return {"cmap": name, "norm": LogNorm(low, high) if spans_decades(finite) else Normalize(low, high)}


def bar(figure: Figure, axes: Axes, metric: str, image: ScalarMappable) -> None:
    """Say what the colours mean."""
    shown = figure.colorbar(image, ax=axes, pad=0.02, aspect=32)
    shown.set_label(metric, fontsize=12, color=INK, parse_math=False)
    shown.outline.set_visible(False)
    shown.ax.tick_params(labelsize=10, colors=INK, color=MUTED)


def number(value: float) -> str:
    """A figure with four significant digits."""
    return f"{value:.4g}"


def png(figure: Figure) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to complain.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        FigureCanvasAgg(figure)
        figure.savefig(file, format="png")
    return file.getvalue()
