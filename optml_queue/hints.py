"""What to try next, read off the finished trials: edges, what always diverges, where to look closer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optml_queue.driver import Goal
from optml_queue.trial import ParamValue, Trial, TrialState

FEW = 3  # distinct values, below which an edge says nothing
MANY_TOGETHER = 2  # trials that went wrong in the same region
SHOWN = 4
FLAT = 0.02  # a share of the importance below which a parameter may as well be fixed
ENOUGH = 20  # complete trials before one is called flat

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Findings:
    """Finished trials as columns, all of one length: a float64 for each trial, NaN where it has none.

    `parameters` are those whose values are numbers, and len(NAME) of those whose values are lists; `complete` and
    `diverged` are booleans.
    """

    parameters: Mapping[str, Column]
    value: Column
    complete: NDArray[np.bool_]
    diverged: NDArray[np.bool_]

    @classmethod
    def of(cls, trials: Iterable[Trial], metric: str) -> Findings:
        """The columns of some trials. A parameter whose values are neither numbers nor lists is left out."""
        found = list(trials)
        names = dict.fromkeys(name for trial in found for name in trial.params)
        values = {name: [trial.params.get(name) for trial in found] for name in names}
        columns = dict(column for name, of_name in values.items() if (column := numbers_of(name, of_name)))
        value = np.array([trial.metrics.get(metric, math.nan) for trial in found], float)
        states = [trial.state for trial in found]
        complete, diverged = (
            np.array([s is w for s in states], bool) for w in (TrialState.COMPLETE, TrialState.DIVERGED)
        )
        return cls(columns, value, complete, diverged)


def numbers_of(name: str, values: Sequence[ParamValue | None]) -> tuple[str, Column] | None:
    """The column of a parameter's values, with its name: lists by their lengths; None of other kinds."""
    given = [value for value in values if value is not None]
    if all(map(_is_number, given)):
        return name, np.array([math.nan if value is None else value for value in values], float)
    if all(isinstance(value, list) for value in given):
        lengths = [len(value) if isinstance(value, list) else math.nan for value in values]
        return f"len({name})", np.array(lengths, float)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that the results suggest."""

    kind: str  # edge, diverged, closer, flat
    text: str


def hints(found: Findings, goal: str) -> list[Hint]:
    """What the finished trials suggest, the most telling first. Only numbers are looked at."""
    ranked = np.flatnonzero(found.complete & np.isfinite(found.value))
    if not len(ranked):
        return []
    values = found.value[ranked]
    best = int(ranked[np.argmin(values if goal == Goal.MINIMIZE else -values)])
    told = []
    for name, tried in found.parameters.items():
        if not np.isfinite(tried[best]):
            continue
        distinct = np.unique(tried[np.isfinite(tried)])
        if len(distinct) >= FEW:
            told += [*_diverged(found, name, tried), _around(name, distinct, float(tried[best]))]
    order = ("edge", "diverged", "closer")
    return sorted(told, key=lambda hint: order.index(hint.kind))[:SHOWN]


def flat(importance: Mapping[str, float], complete: int) -> list[Hint]:
    """Which parameters need no more search, by their shares of the importance over so many complete trials."""
    if complete < ENOUGH:
        return []
    return [
        Hint("flat", f"{name} makes next to no difference ({share:.1%}): fix it.")
        for name, share in importance.items()
        if share < FLAT
    ]


def _said(value: float) -> str:
    # A hyphen that no line ends at.
    text = repr(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.6g}".replace("e-0", "e-")
    return text.replace("-", "\N{NON-BREAKING HYPHEN}")


def _around(name: str, distinct: Column, best: float) -> Hint:
    place = int(np.searchsorted(distinct, best))
    value = _said(best)
    if place == 0:
        return Hint("edge", f"The best {name}, {value}, is the smallest that was tried: try smaller ones.")
    if place == len(distinct) - 1:
        return Hint("edge", f"The best {name}, {value}, is the largest that was tried: try larger ones.")
    below, above = (_said(float(distinct[place + step])) for step in (-1, 1))
    return Hint("closer", f"Look closer around {name} {value}, between {below} and {above}.")


def _diverged(results: Findings, name: str, tried: Column) -> list[Hint]:
    complete, diverged = tried[results.complete], tried[results.diverged]
    above = diverged[diverged > np.nanmax(complete, initial=-np.inf)]
    below = diverged[diverged < np.nanmin(complete, initial=np.inf)]
    found = []
    for run_away, sign, end in ((above, "≥", np.min), (below, "≤", np.max)):
        if len(run_away) >= MANY_TOGETHER:
            region = f"{name} {sign} {_said(float(end(run_away)))}"
            found.append(Hint("diverged", f"All {len(run_away):,} trials with {region} diverged: leave them out."))
    return found
