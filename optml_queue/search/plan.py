"""The trials of an experiment by number: points × seeds, computed when asked for.

Number = first number of the segment + index of the point × seeds + index of the seed. Points that are excluded, or
that repeat another, leave a gap in the numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from optml_queue.search.grid import GridSearch
from optml_queue.search.random_search import RandomSearch
from optml_queue.spec import Spec
from optml_queue.trial import Params

PlannedTrial = tuple[int, Params, int]  # number, point, seed

# A random search may be of a larger space; nobody gets so far. The store's scripts count in floats, exact to 2^53.
MAX_NUMBERS = 10**15
# How many numbers first, last and count look at when gaps keep them from computing.
_LOOKED_AT = 1_000_000


class Searcher(Protocol):
    """Points by index."""

    @property
    def size(self) -> int:
        """The number of indices, those without a point included."""

    @property
    def gapless(self) -> bool:
        """Whether every index has a point."""

    def point(self, index: int) -> Params | None:
        """The point at an index, 0 ≤ index < size; None where there is none to try."""

    def count(self, limit: int) -> tuple[int, bool]:
        """The number of points, and whether it is exact; else an upper bound."""


@dataclass(frozen=True)
class ExplicitPoints:
    """The points that a spec lists."""

    points: tuple[Params, ...]
    gapless: bool = True

    @property
    def size(self) -> int:
        return len(self.points)

    def point(self, index: int) -> Params:
        return self.points[index]

    def count(self, limit: int) -> tuple[int, bool]:  # noqa: ARG002 - a list is always counted
        return self.size, True


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of trial numbers from `first` on."""

    first: int
    searcher: Searcher


@dataclass(frozen=True)
class Plan:
    """The trials of an experiment. `max_trials` counts real ones, lowest numbers first; None is all."""

    segments: tuple[Segment, ...]
    seeds: tuple[int, ...]
    max_trials: int | None = None

    @cached_property
    def end(self) -> int:
        """One past the last number that can be needed."""
        last = self.segments[-1]
        end = min(last.first + last.searcher.size * len(self.seeds), MAX_NUMBERS)
        return min(end, self.max_trials) if self.max_trials is not None and self.gapless else end

    @cached_property
    def gapless(self) -> bool:
        """Whether every number has a trial."""
        return all(segment.searcher.gapless for segment in self.segments)

    def __iter__(self) -> Iterator[PlannedTrial]:
        """Every trial, in the order of numbers."""
        number, left = 0, self.max_trials
        while number < self.end and left != 0:
            taken, number = self.take(number, 1_000, left)
            yield from taken
            left = None if left is None else left - len(taken)

    def trial(self, number: int) -> tuple[Params, int] | None:
        """Point and seed of a number; None in a gap. Raises IndexError outside 0 ≤ number < end."""
        if not 0 <= number < self.end:
            raise IndexError(f"trial {number} of a plan that ends at {self.end}")
        searcher, index, seed = self._place(number)
        params = searcher.point(index)
        return None if params is None else (params, self.seeds[seed])

    def take(
        self, start: int, limit: int, budget: int | None = None, scan: int = 100_000
    ) -> tuple[list[PlannedTrial], int]:
        """Up to `limit` trials from number `start` on, and the number to go on from.

        `budget` is how many more trials `max_trials` allows (None: no bound). No more than `scan` numbers are looked
        at. Trials of one point share its Params: do not change them.
        """
        wanted = limit if budget is None else min(limit, budget)
        stop = min(self.end, start + scan)
        found: list[PlannedTrial] = []
        number = start
        while number < stop and len(found) < wanted:
            searcher, index, seed = self._place(number)
            after = min(stop, number + len(self.seeds) - seed)
            params = searcher.point(index)
            if params is None:
                number = after
                continue
            after = min(after, number + wanted - len(found))
            found += [(number + i, params, self.seeds[seed + i]) for i in range(after - number)]
            number = after
        return found, number

    def first(self, limit: int) -> list[PlannedTrial]:
        """The first trials."""
        return self.take(0, limit, self.max_trials, _LOOKED_AT)[0]

    def last(self, limit: int) -> list[PlannedTrial]:
        """The last trials, in order of number; fewer, or none, when gaps make them too far to look for."""
        if self.max_trials is None or self.max_trials >= self.end:
            return self._last_of_all(limit)
        return self._last_within_max(self.max_trials, limit)

    def count(self, limit: int = 1_000_000) -> tuple[int, bool]:
        """The number of trials, and whether it is exact.

        It is an upper bound when conditions would have to be tried on more than `limit` points.
        """
        counts = [segment.searcher.count(limit) for segment in self.segments]
        total = sum(count for count, _ in counts) * len(self.seeds)
        exact = all(exactly for _, exactly in counts)
        if self.max_trials is None or total <= self.max_trials:
            return total, exact
        return self.max_trials, exact or self._reaches(self.max_trials)

    def _place(self, number: int) -> tuple[Searcher, int, int]:
        """Searcher and index of a number's point, and the index of its seed."""
        segment = self.segments[bisect_right(self._firsts, number) - 1]
        index, seed = divmod(number - segment.first, len(self.seeds))
        return segment.searcher, index, seed

    @cached_property
    def _firsts(self) -> Sequence[int]:
        return [segment.first for segment in self.segments]

    def _last_of_all(self, limit: int) -> list[PlannedTrial]:
        found: list[PlannedTrial] = []
        number = self.end - 1
        while number >= max(0, self.end - _LOOKED_AT) and len(found) < limit:
            trial = self.trial(number)
            if trial is not None:
                found.append((number, *trial))
            number -= 1
        return found[::-1]

    def _last_within_max(self, max_trials: int, limit: int) -> list[PlannedTrial]:
        if max_trials > _LOOKED_AT:
            return []
        kept: deque[PlannedTrial] = deque(maxlen=limit)
        number = seen = 0
        while seen < max_trials and number < min(self.end, _LOOKED_AT):
            taken, number = self.take(number, 1_000, max_trials - seen)
            kept.extend(taken)
            seen += len(taken)
        return list(kept) if seen == max_trials or number >= self.end else []

    def _reaches(self, max_trials: int) -> bool:
        """Whether so many trials are found within a look that stays short."""
        return max_trials <= _LOOKED_AT // 10 and len(self.take(0, max_trials)[0]) == max_trials


def segments(spec: Spec) -> Plan:
    """The plan of a spec: the points it lists, then its grid or random search."""
    listed = len(spec.points) * len(spec.seeds)
    parts = [Segment(0, ExplicitPoints(spec.points))] if spec.points else []
    return Plan((*parts, Segment(listed, _searcher(spec))), spec.seeds, spec.max_trials)


def _searcher(spec: Spec) -> Searcher:
    if spec.method == "grid":
        return GridSearch(spec.space, spec.points)
    # Drawn without end: as many points as max_trials has use for.
    left = max(0, (spec.max_trials or 0) - len(spec.points) * len(spec.seeds))
    return RandomSearch(spec.space, spec.seed, spec.points, draws=-(-left // len(spec.seeds)))
