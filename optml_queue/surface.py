"""A metric over two numeric parameters, as a surface of triangles: what a contour plot shows.

Trials are gathered where they are close together, and the surface goes through the mean of each gathering, over
whatever else differs between its trials. Between the means it is linear, and beyond them there is none: nothing is
extrapolated, nothing smoothed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACES = 20  # along each side, at which trials are gathered; fewer values than these stay as they are
GROUPS = 10  # of values of a parameter, between which the metric's means are compared
DECADES = 100.0  # the largest of some values many times the smallest: their logarithms are drawn
FLATTEST = 0.04  # triangles at the rim with a smaller ratio of inner to outer circle show nothing

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Surface:
    """`x`, `y`, `value`: float64 of length n, what was given for each gathering of `count` trials, on average.

    `triangles` is an integer array (m, 3) of places among them, counter-clockwise.
    """

    x: Column
    y: Column
    value: Column
    count: NDArray[np.int64]
    triangles: NDArray[np.int64]


def surface(x: Column, y: Column, value: Column) -> Surface | None:
    """The surface over trials at (x, y); float64 arrays of one length, all finite, logarithms already taken.

    None where the trials lie on one line, or are fewer than three.
    """
    if len(value) == 0:
        return None
    _, members, count = np.unique(_place(x) * PLACES + _place(y), return_inverse=True, return_counts=True)
    at_x, at_y, mean = (np.bincount(members, weights=each) / count for each in (x, y, value))
    triangles = _triangles(at_x, at_y)
    return None if triangles is None else Surface(at_x, at_y, mean, count.astype(np.int64), triangles)


def drawn(values: Column) -> tuple[Column, bool]:
    """Values, or their logarithms to the base 10 where they span decades, and whether they are; nan stays nan."""
    known = values[np.isfinite(values)]
    is_log = bool(len(known)) and float(known.min()) > 0 and float(known.max() / known.min()) >= DECADES
    return (np.log10(values) if is_log else values), is_log


def _place(values: Column) -> NDArray[np.int64]:
    """Which gathering along one side each value belongs to, below PLACES."""
    distinct = np.unique(values)
    if len(distinct) <= PLACES:
        return np.searchsorted(distinct, values)
    return np.searchsorted(np.linspace(distinct[0], distinct[-1], PLACES + 1)[1:-1], values)


def _triangles(x: Column, y: Column) -> NDArray[np.int64] | None:
    """Delaunay's triangles, made as if both sides were equally long."""
    # Late, for it is a part of matplotlib, which takes a while to import.
    from matplotlib.tri import TriAnalyzer, Triangulation

    sides = [float(np.ptp(each)) for each in (x, y)]
    if len(x) < 3 or 0.0 in sides:
        return None
    try:
        made = Triangulation((x - x.min()) / sides[0], (y - y.min()) / sides[1])
    except (RuntimeError, ValueError):  # all on one line
        return None
    shown: NDArray[np.int64] = made.triangles[~TriAnalyzer(made).get_flat_tri_mask(FLATTEST)].astype(np.int64)
    return shown if len(shown) else None


def explained(x: Column, value: Column) -> float:
    """The part of a metric's variance that lies between groups of one parameter's values, from 0 to 1 (Pearson's η²).

    Arrays of one length, all finite. The groups are the values themselves, or ten of equally many trials.
    """
    distinct, members = np.unique(x, return_inverse=True)
    if len(distinct) > GROUPS:
        members = np.searchsorted(np.quantile(x, np.linspace(0, 1, GROUPS + 1)[1:-1]), x)
    total = float(np.sum((value - value.mean()) ** 2))
    if total == 0.0:
        return 0.0
    count = np.bincount(members)
    used = count > 0
    means = np.bincount(members, weights=value)[used] / count[used]
    return float(np.sum(count[used] * (means - value.mean()) ** 2)) / total


def telling(parameters: Mapping[str, Column], value: Column) -> list[str]:
    """The parameters with three values or more, those first that explain most of the metric.

    Arrays of one length; NaN where a trial lacks the parameter or has no finite metric.
    """
    known = {name: np.isfinite(each) & np.isfinite(value) for name, each in parameters.items()}
    shares = {
        name: explained(each[known[name]], value[known[name]])
        for name, each in parameters.items()
        if len(np.unique(each[known[name]])) > 2
    }
    return sorted(shares, key=lambda name: -shares[name])
