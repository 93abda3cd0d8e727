"""What to try next, read off the finished trials: edges, what always diverges, where to look closer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optml_queue.api.columns import STATES, Column, Columns
from optml_queue.api.page.wording import param
from optml_queue.driver import Goal
from optml_queue.trial import TrialState

FEW = 3  # distinct values, below which an edge says nothing
MANY_TOGETHER = 2  # trials that went wrong in the same region
SHOWN = 4
_COMPLETE, _DIVERGED = STATES.index(TrialState.COMPLETE), STATES.index(TrialState.DIVERGED)


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that the results suggest."""

    kind: str  # edge, diverged, closer
    text: str


def hints(columns: Columns, goal: str) -> list[Hint]:
    """What the finished trials suggest, the most telling first. Only numbers are looked at."""
    ranked = np.flatnonzero((columns.states == _COMPLETE) & np.isfinite(columns.value))
    if not len(ranked):
        return []
    values = columns.value[ranked]
    best = int(ranked[np.argmin(values if goal == Goal.MINIMIZE else -values)])
    found = []
    for name, tried in columns.parameters.items():
        if name in columns.labels or not np.isfinite(tried[best]):
            continue
        distinct = np.unique(tried[np.isfinite(tried)])
        if len(distinct) >= FEW:
            found += [*_diverged(columns, name, tried), _around(name, distinct, float(tried[best]))]
    order = ("edge", "diverged", "closer")
    return sorted(found, key=lambda hint: order.index(hint.kind))[:SHOWN]


def _said(value: float) -> str:
    # A hyphen that no line ends at.
    return param(value).replace("-", "\N{NON-BREAKING HYPHEN}")


def _around(name: str, distinct: Column, best: float) -> Hint:
    place = int(np.searchsorted(distinct, best))
    value = _said(best)
    if place == 0:
        return Hint("edge", f"The best {name}, {value}, is the smallest that was tried: try smaller ones.")
    if place == len(distinct) - 1:
        return Hint("edge", f"The best {name}, {value}, is the largest that was tried: try larger ones.")
    below, above = (_said(float(distinct[place + step])) for step in (-1, 1))
    return Hint("closer", f"Look closer around {name} {value}, between {below} and {above}.")


def _diverged(columns: Columns, name: str, tried: Column) -> list[Hint]:
    complete, diverged = tried[columns.states == _COMPLETE], tried[columns.states == _DIVERGED]
    above = diverged[diverged > np.nanmax(complete, initial=-np.inf)]
    below = diverged[diverged < np.nanmin(complete, initial=np.inf)]
    found = []
    for run_away, sign, end in ((above, "≥", np.min), (below, "≤", np.max)):
        if len(run_away) >= MANY_TOGETHER:
            region = f"{name} {sign} {_said(float(end(run_away)))}"
            found.append(Hint("diverged", f"All {len(run_away):,} trials with {region} diverged: leave them out."))
    return found
