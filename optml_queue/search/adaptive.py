"""Searchers that learn: each is a function of the history, and nothing but a cache stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from typing import Protocol

from optml_queue.driver import Goal
from optml_queue.errors import InputError
from optml_queue.search.history import History, Suggestion
from optml_queue.search.random_order import RandomOrder
from optml_queue.space import Space
from optml_queue.spec import Spec
from optml_queue.trial import Params, encode

# Points of a countable space that are looked at for one that was not tried yet.
_LOOKED_AT = 10_000
_DRAWS = 100
FRONT = ("nsga2",)  # what looks for the Pareto front where there are several metrics
# What each method needs besides this package, by the name that pip knows, and by that of its module.
_NEEDS = {
    "tpe": {"optuna": "optuna"},
    "nsga2": {"optuna": "optuna"},
    "cma-es": {"optuna": "optuna", "cmaes": "cmaes"},
    "gp": {"optuna": "optuna", "scipy": "scipy", "torch": "torch"},
}


class AdaptiveSearcher(Protocol):
    """The same history and seed give the same suggestions, whatever was asked of the object before."""

    def suggest(self, history: History, numbers: Sequence[int]) -> list[Suggestion]:
        """A point for each of the numbers, which come after those of all asks; fewer when every point was tried.

        Each is suggested as if those before it were running.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """What a searcher is to do: which space, which goal, from which seed.

    `others` are the goals of the metrics after the first. A method of `FRONT` weighs all of them against each other;
    to any other, the first alone counts.
    """

    method: str
    space: Space
    goal: Goal
    seed: int = 0
    others: tuple[Goal, ...] = ()

    @classmethod
    def of(cls, spec: Spec, method: str) -> Task:
        """What a spec wants of one of its methods."""
        others = tuple(metric.goal for metric in spec.other_metrics)
        return cls(method, spec.space, spec.goal, spec.seed, others)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Those that the method pursues."""
        return (self.goal, *self.others) if self.method in FRONT else (self.goal,)


def searcher(task: Task) -> AdaptiveSearcher:
    """The searcher of a method. Raises InputError when a package that it needs is not installed."""
    require(task.method)
    if task.method == "evolution":
        from optml_queue.search.evolution import Evolution

        return Evolution(task)
    from optml_queue.search.optuna_search import OptunaSearch

    return OptunaSearch(task)


def require(method: str) -> None:
    """Raises InputError, with the command that helps, when a package that a method needs is not installed."""
    missing = [package for module, package in _NEEDS.get(method, {}).items() if find_spec(module) is None]
    if missing:
        extras = "search,torch" if "torch" in missing else "search"
        message = f"method: {method} needs {' and '.join(missing)}, not installed here"
        raise InputError(f"{message}; `pip install 'optml-queue[{extras}]'`")


def derived_seed(seed: int, number: int, draw: int = 0) -> int:
    """The seed of the sampler that suggests the point of a number: 31 bits of a hash. Draws after the first differ."""
    text = f"{seed}/{number}/{draw}" if draw else f"{seed}/{number}"
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def fraction(text: str) -> float:
    """A number that is uniform in [0, 1) over texts: 53 bits of a hash."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 11) * 2.0**-53


def untried(space: Space, tried: frozenset[str] | set[str], seed: int, number: int) -> Params | None:
    """A random point that was not tried, for when a sampler only repeats itself; None when none is found."""
    if space.size is None:
        for draw in range(_DRAWS):
            prefix = f"{seed}/{number}/{draw}/"
            drawn = space.draw(lambda name, prefix=prefix: fraction(prefix + name))  # type: ignore[misc]  # a default in a lambda
            if drawn is not None and encode(drawn) not in tried:
                return drawn
        return None
    order = RandomOrder(space, seed)
    for index in range(min(space.size, _LOOKED_AT)):
        point = space.point(order[index])
        if point is not None and encode(point) not in tried:
            return point
    return None
