"""How long a trial will take, judged by its parameters from those of its experiment that ended.

A linear model of the logarithm of the duration, fitted by ridge regression: each numeric parameter has a slope (over
the logarithm of its value where all are positive, for work grows with products of sizes), and every parameter an effect
of each of its values, or of each eighth of the values of one that has many. Effects are drawn towards nothing, the more
the fewer trials speak for them. The model counts only if it foretells trials that it was not fitted to: the residuals
of leaving one out come from the diagonal of the hat matrix (Hastie, Tibshirani, Friedman: The Elements of Statistical
Learning, 2nd ed., eq. 7.64).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from optml_queue.trial import Params, encode

Vector = NDArray[np.float64]  # one value for each trial
Matrix = NDArray[np.float64]  # trials × terms

OBSERVED_MIN = 6  # fewer trials tell nothing of what their durations depend on
EXPLAINED_MIN = 0.25  # part of the variance of log durations, of trials left out, below which the order stays as it is
BINS = 8
SLOPE_PENALTY, LEVEL_PENALTY = 0.5, 4.0  # as many trials without any effect are thought to have been observed, too
SHORTEST_S = 1e-4
LARGEST = 1e100  # the square of a number can be reckoned with
OUTLYING = 4.0  # standard deviations, judged by the median absolute deviation, beyond which a trial counts for less
ROUNDS = 3  # of drawing in outliers and fitting anew
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Slope:
    """Grows with a numeric parameter, and beyond `reach` only with the logarithm: no trend is believed without end."""

    name: str
    is_log: bool
    middle: float
    scale: float
    reach: float

    penalty = SLOPE_PENALTY

    def of(self, features: Mapping[str, Any]) -> float:
        """The term's value for a trial, in standard deviations of what was observed."""
        value = features.get(self.name)
        if not _is_number(value) or (self.is_log and value <= 0):
            return 0.0
        deviation = ((math.log(value) if self.is_log else value) - self.middle) / self.scale
        beyond = max(0.0, abs(deviation) - self.reach)
        return math.copysign(min(self.reach, abs(deviation)) + math.log1p(beyond), deviation)


@dataclass(frozen=True, slots=True)
class Level:
    """1 for trials with one value of a parameter, or with one of a range of values (`edges`)."""

    name: str
    level: str
    edges: tuple[float, ...] = ()

    penalty = LEVEL_PENALTY

    def of(self, features: Mapping[str, Any]) -> float:
        """Whether a trial has it."""
        return float(_level(features.get(self.name), self.edges) == self.level)


Term = Slope | Level


@dataclass(frozen=True, slots=True)
class DurationModel:
    """What durations depend on. `explained` is the part of their variance that it foretold (at most 1)."""

    terms: tuple[Term, ...]
    effects: tuple[float, ...]
    offset: float
    explained: float

    def duration_s(self, params: Params) -> float:
        """Seconds that a trial will take; positive and finite."""
        features = _features(params)
        effect = sum(effect * term.of(features) for term, effect in zip(self.terms, self.effects, strict=True))
        return math.exp(min(50.0, max(-50.0, self.offset + effect)))


def fitted(observed: Sequence[tuple[Params, float]]) -> DurationModel | None:
    """The model of trials with these parameters and durations in seconds.

    None when there are fewer than OBSERVED_MIN, or when parameters do not tell durations: any order is then as good
    as that of numbers.
    """
    if len(observed) < OBSERVED_MIN:
        return None
    logs = np.log([max(SHORTEST_S, duration_s) for _, duration_s in observed])
    features = [_features(params) for params, _ in observed]
    terms = tuple(_terms(features))
    if not terms or logs.std() == 0.0:
        return None
    matrix = np.array([[term.of(each) for term in terms] for each in features])
    penalties = np.array([term.penalty for term in terms])
    effects, offset, left_out = _ridge(matrix, logs, penalties)
    for _ in range(ROUNDS):
        logs = logs - left_out + _drawn_in(left_out)
        effects, offset, left_out = _ridge(matrix, logs, penalties)
    explained = 1.0 - float(np.mean(left_out**2)) / max(TINY, float(np.var(logs)))
    if not explained >= EXPLAINED_MIN:
        return None
    return DurationModel(terms, tuple(map(float, effects)), offset, explained)


def _ridge(matrix: Matrix, target: Vector, penalties: Vector) -> tuple[Vector, float, Vector]:
    """Effects (terms), offset, and the residuals of leaving each trial out (trials). The offset is not drawn to 0."""
    middle, mean = matrix.mean(axis=0), float(target.mean())
    centred = matrix - middle
    solved = np.linalg.solve(centred.T @ centred + np.diag(penalties), centred.T)  # terms × trials
    effects = solved @ (target - mean)
    leverage = np.einsum("ij,ji->i", centred, solved) + 1 / len(target)
    residuals = target - mean - centred @ effects
    return effects, mean - float(middle @ effects), residuals / np.maximum(1e-9, 1 - leverage)


def _drawn_in(residuals: Vector) -> Vector:
    """Residuals, those that lie far outside drawn in: a worker's first trial also loads its libraries."""
    reach = OUTLYING * max(TINY, 1.4826 * float(np.median(np.abs(residuals))))
    return np.clip(residuals, -reach, reach)


def _features(params: Params) -> dict[str, Any]:
    """Parameters by name; a list also counts by its length and, if it has numbers alone, by their sum."""
    found: dict[str, Any] = dict(params)
    for name, value in params.items():
        if isinstance(value, list | tuple):
            found[f"{name}: length"] = len(value)
            if all(map(_is_number, value)):
                found[f"{name}: sum"] = sum(value)
    return found


def _terms(features: Sequence[Mapping[str, Any]]) -> Iterable[Term]:
    """What the model may depend on: whatever differs from one of the trials to another."""
    for name in sorted({name for each in features for name in each}):
        values = [each.get(name) for each in features]
        numbers = sorted(value for value in values if _is_number(value))
        if len(set(numbers)) > 1:
            yield _slope(name, numbers)
        edges = _edges(numbers) if len(numbers) == len(values) and len(set(numbers)) > BINS else ()
        levels = {_level(value, edges) for value in values}
        if 1 < len(levels) <= len(features) // 2:  # a value of its own for every trial tells nothing of the next
            yield from (Level(name, level, edges) for level in sorted(levels))


def _slope(name: str, numbers: Sequence[float]) -> Slope:
    is_log = numbers[0] > 0
    positions = np.log(numbers) if is_log else np.array(numbers, dtype=np.float64)
    middle, scale = float(positions.mean()), float(positions.std()) or 1.0
    return Slope(name, is_log, middle, scale, 2 * float(np.abs(positions - middle).max()) / scale)


def _edges(numbers: Sequence[float]) -> tuple[float, ...]:
    """The values that part the sorted numbers into as good as equal parts."""
    return tuple(sorted({numbers[len(numbers) * part // BINS] for part in range(1, BINS)}))


def _level(value: Any, edges: Sequence[float]) -> str:
    if edges:
        return str(bisect_right(edges, value)) if _is_number(value) else ""
    return encode(value)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
