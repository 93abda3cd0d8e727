"""Regularised evolution: the best of a few of the youngest has a child that differs from it in one parameter.

After E. Real, A. Aggarwal, Y. Huang and Q. V. Le (2019), Regularized Evolution for Image Classifier Architecture
Search, AAAI 33: the population are the last points told, so that everybody dies of age, also the best. It needs no
distance between points; so it suits choices, conditions and lists beside numbers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice

from optml_queue.driver import Goal
from optml_queue.search.adaptive import Task, derived_seed, untried
from optml_queue.search.history import Ask, History, Suggestion, Tell
from optml_queue.search.tried import Tried
from optml_queue.space import Axis, Choices, Interval, Lists, Space
from optml_queue.trial import Params, ParamValue, encode

POPULATION = 25
TOURNAMENT = 5
SPREAD = 0.1  # standard deviation of a mutation, as a part of the axis (of its logarithm on a log scale)
FAR = 0.1  # how often a mutation forgets the parent's value
MAX_DRAWS = 50


class Evolution:
    """Regularised evolution as a function of the history. The first `POPULATION` points are random."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._tried = Tried()

    def suggest(self, history: History, numbers: Sequence[int]) -> list[Suggestion]:
        """A point for each of the numbers; fewer when every point of the space was tried."""
        tried = self._tried.of(history.asks)
        population = self._population(history)
        suggested: list[Suggestion] = []
        for number in numbers:
            suggestion = self._suggestion(population, len(history.asks) + len(suggested), tried, number)
            if suggestion is None:
                break
            tried.add(encode(suggestion.params))
            suggested.append(suggestion)
        return suggested

    def _population(self, history: History) -> list[tuple[float, Ask]]:
        """The last points told, each with its cost: what is smallest is best."""
        asks = {ask.number: ask for ask in history.asks}
        youngest = ((self._cost(tell), asks[tell.number]) for tell in reversed(history.tells))
        able = (each for each in youngest if math.isfinite(each[0]) and self._task.space.contains(each[1].params))
        return list(islice(able, POPULATION))

    def _cost(self, tell: Tell) -> float:
        if tell.value is None:
            return math.inf
        return -tell.value if self._task.goal is Goal.MAXIMIZE else tell.value

    def _suggestion(
        self, population: list[tuple[float, Ask]], asked: int, tried: set[str], number: int
    ) -> Suggestion | None:
        seed, space = self._task.seed, self._task.space
        if asked >= POPULATION and population:
            chance = random.Random(derived_seed(seed, number))
            for _ in range(MAX_DRAWS):
                rivals = chance.sample(population, min(TOURNAMENT, len(population)))
                parent = min(rivals, key=lambda rival: (rival[0], rival[1].number))[1]
                child = mutated(parent.params, space, chance)
                if child is not None and encode(child) not in tried:
                    return Suggestion(child, (parent.number,))
        found = untried(space, tried, seed, number)
        return None if found is None else Suggestion(found)


def mutated(parent: Params, space: Space, chance: random.Random) -> Params | None:
    """A point that differs in one parameter, and in those that apply only because of it; None when it is excluded."""
    free = [axis.name for axis in space.axes if axis.name in parent and axis.size != 1]
    if not free:
        return None
    changed = chance.choice(free)

    def value(axis: Axis) -> ParamValue:
        if axis.name in parent:
            return mutation(axis, parent[axis.name], chance) if axis.name == changed else parent[axis.name]
        return axis.draw(lambda _name: chance.random())

    child = space.build(value)
    return None if space.excluded_by(child) else child


def mutation(axis: Axis, value: ParamValue, chance: random.Random) -> ParamValue:
    """Another value of an axis: a choice by chance, a number near the parent's, on a log scale by its ratio.

    A list has an element more or less, or another one in a place; each equally often, where it can be.
    """
    if isinstance(axis, Lists):
        return _edited(axis, list(value), chance)  # type: ignore[arg-type]  # of a list axis
    if isinstance(axis, Choices):
        return _other(axis, axis.index(value) or 0, chance)
    if chance.random() < FAR:
        return axis.at(chance.random())
    if not isinstance(axis, Interval):
        return _neighbour(axis, axis.index(value) or 0, chance)
    return _near(axis, value, chance)


def _edited(axis: Lists, items: list[ParamValue], chance: random.Random) -> ParamValue:
    edits = []
    if items and axis.of.size != 1:
        edits.append("change")
    if len(items) < axis.max_length:
        edits.append("insert")
    if len(items) > axis.min_length:
        edits.append("drop")
    edit = chance.choice(edits)
    if edit == "insert":
        items.insert(chance.randrange(len(items) + 1), axis.of.at(chance.random()))
        return items
    place = chance.randrange(len(items))
    if edit == "drop":
        del items[place]
    else:
        items[place] = mutation(axis.of, items[place], chance)
    return items


def _other(axis: Axis, index: int, chance: random.Random) -> ParamValue:
    """Any value but that of the index."""
    other = chance.randrange((axis.size or 1) - 1)
    return axis.value(other + (other >= index))


def _neighbour(axis: Axis, index: int, chance: random.Random) -> ParamValue:
    """A value some steps away on an axis of values in order."""
    last = (axis.size or 1) - 1
    steps = max(1, round(abs(chance.gauss(0.0, SPREAD * last))))
    place = index + (steps if chance.random() < 0.5 else -steps)
    if not 0 <= place <= last:
        place = 2 * index - place  # to the other side
    return axis.value(min(max(place, 0), last))


def _near(axis: Interval, value: ParamValue, chance: random.Random) -> ParamValue:
    low, high, number = float(axis.low), float(axis.high), float(value)  # type: ignore[arg-type]  # of an interval
    if axis.log:
        low, high, number = math.log(low), math.log(high), math.log(number)
    place = (number - low) / (high - low) + chance.gauss(0.0, SPREAD)
    place = abs(place) if place < 1.0 else 2.0 - place  # reflected at the bounds
    near = axis.at(min(max(place, 0.0), math.nextafter(1.0, 0.0)))
    if near != value or not axis.whole:
        return near
    return value + 1 if value < axis.high else value - 1  # type: ignore[operator]  # of an interval of integers
