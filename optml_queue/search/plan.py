"""The trials of an experiment by number: points × seeds, computed when asked for.

Number = first number of the segment + index of the point × seeds + index of the seed. Points that are excluded, or
that repeat another, leave a gap in the numbers.

A search that was extended ends at the number that was next then, and the one that extends it goes on from there. Points
that the earlier one has tried with the same seed leave gaps. Whether it has is computed from the point: nothing is
remembered, and as only trials that exist are passed over, there are never many gaps of that kind.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from optml_queue.search.grid import GridSearch
from optml_queue.search.random_search import RandomSearch
from optml_queue.spec import Spec
from optml_queue.spec.search import Search, Stage
from optml_queue.trial import Params, encode

PlannedTrial = tuple[int, Params, int]  # number, point, seed

# A random search may be of a larger space; nobody gets so far. The store's scripts count in floats, exact to 2^53.
MAX_NUMBERS = 10**15
# How many numbers first, last and count look at when gaps keep them from computing.
_LOOKED_AT = 1_000_000
# Up to how many numbers the trials of an extended plan are counted one by one, which takes a fraction of a second.
_COUNTED = 20_000


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

    def index(self, point: Params) -> int | None:
        """The index of a point; None when it has none, or when points are drawn from ranges without end."""

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

    def index(self, point: Params) -> int | None:
        return self._indices.get(encode(point))

    @cached_property
    def _indices(self) -> Mapping[str, int]:
        return {encode(point): index for index, point in enumerate(self.points)}

    def count(self, limit: int) -> tuple[int, bool]:  # noqa: ARG002 - a list is always counted
        return self.size, True


@dataclass(frozen=True)
class Suggested:
    """The points that a method will suggest: none is known before it is reserved. `max_trials` ends them."""

    method: str
    gapless: bool = False
    size: int = MAX_NUMBERS

    def point(self, index: int) -> None:  # noqa: ARG002 - nobody knows yet
        return None

    def index(self, point: Params) -> None:  # noqa: ARG002 - as above
        return None

    def count(self, limit: int) -> tuple[int, bool]:  # noqa: ARG002 - as above
        return self.size, True


@dataclass(frozen=True)
class Segment:
    """A run of trial numbers from `first` on: the points of a searcher, each with the seeds.

    It ends before `until`, and with its searcher when that is None. `draws` names a search of random draws, "" for any
    other: two of the same name draw the same point at the same index. `extends` is how many of the plan's segments, its
    first, belong to earlier searches.
    """

    first: int
    searcher: Searcher
    seeds: tuple[int, ...] = (0,)
    until: int | None = None
    draws: str = ""
    extends: int = 0

    @cached_property
    def end(self) -> int:
        """One past the last number."""
        end = min(self.first + self.searcher.size * len(self.seeds), MAX_NUMBERS)
        return end if self.until is None else min(end, self.until)

    @property
    def method(self) -> str:
        """The method that suggests its points; "" when they are computed from their index."""
        return self.searcher.method if isinstance(self.searcher, Suggested) else ""

    def has(self, point: Params, seed: int, draw: int | None, draws: str) -> bool:
        """Whether it has a point with a seed; `draw` is the point's index among `draws`, if it was drawn."""
        if seed not in self.seeds:
            return False
        index = draw if self.draws and self.draws == draws else self.searcher.index(point)
        return index is not None and self.first + index * len(self.seeds) + self.seeds.index(seed) < self.end


@dataclass(frozen=True)
class Plan:
    """The trials of an experiment. `max_trials` counts real ones, lowest numbers first; None is all."""

    segments: tuple[Segment, ...]
    max_trials: int | None = None

    @cached_property
    def end(self) -> int:
        """One past the last number that can be needed."""
        end = self.segments[-1].end
        return min(end, self.max_trials) if self.max_trials is not None and self.gapless else end

    @cached_property
    def gapless(self) -> bool:
        """Whether every number has a trial."""
        return not self.segments[-1].extends and all(segment.searcher.gapless for segment in self.segments)

    def __iter__(self) -> Iterator[PlannedTrial]:
        """Every trial, in the order of numbers, up to the first that has to be suggested."""
        number, left = 0, self.max_trials
        while number < self.end and left != 0:
            taken, next_ = self.take(number, 1_000, left)
            yield from taken
            if next_ == number:
                return
            number = next_
            left = None if left is None else left - len(taken)

    def trial(self, number: int) -> tuple[Params, int] | None:
        """Point and seed of a number; None in a gap. Raises IndexError outside 0 ≤ number < end."""
        if not 0 <= number < self.end:
            raise IndexError(f"trial {number} of a plan that ends at {self.end}")
        place, index, seed = self._place(number)
        if number >= self.segments[place].end:
            return None
        found = self._tried(place, index, range(seed, seed + 1))
        return (found[0][1], found[0][2]) if found else None

    def take(
        self, start: int, limit: int, budget: int | None = None, scan: int = 100_000
    ) -> tuple[list[PlannedTrial], int]:
        """Up to `limit` trials from number `start` on, and the number to go on from.

        `budget` is how many more trials `max_trials` allows (None: no bound). No more than `scan` numbers are looked
        at. Trials of one point share its Params: do not change them. It goes no further than to the first number whose
        point has to be suggested.
        """
        wanted = limit if budget is None else min(limit, budget)
        stop = min(self.end, start + scan)
        found: list[PlannedTrial] = []
        number = start
        while number < stop and len(found) < wanted:
            place, index, seed = self._place(number)
            segment = self.segments[place]
            if number >= segment.end:
                number = self._firsts[place + 1]  # an extended search may have ended before its numbers did
                continue
            if segment.method:
                break
            left = min(stop, segment.end) - number
            tried = self._tried(place, index, range(seed, min(len(segment.seeds), seed + left)))
            found += tried[: wanted - len(found)]
            number = found[-1][0] + 1 if len(found) == wanted else number + min(left, len(segment.seeds) - seed)
        return found, number

    def suggested(self, number: int) -> Segment | None:
        """The segment of a number whose point has to be suggested; None for one that is computed, or beyond the end."""
        while number < self.end:
            place, _, _ = self._place(number)
            segment = self.segments[place]
            if number < segment.end:
                return segment if segment.method else None
            number = self._firsts[place + 1]
        return None

    def firsts(self, numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Each of some numbers with the first number of its point."""
        for number in numbers:
            place, index, _ = self._place(number)
            segment = self.segments[place]
            yield number, segment.first + index * len(segment.seeds)

    @cached_property
    def learns(self) -> bool:
        """Whether some of its points have to be suggested."""
        return any(segment.method for segment in self.segments)

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
        if self.learns and self.max_trials is not None:
            return self.max_trials, self.segments[-1].method != "" and self.segments[-1].until is None
        if self.segments[-1].extends:
            return self._count_extended()
        counts = [(*segment.searcher.count(limit), len(segment.seeds)) for segment in self.segments]
        total = sum(count * seeds for count, _, seeds in counts)
        exact = all(exactly for _, exactly, _ in counts)
        if self.max_trials is None or total <= self.max_trials:
            return total, exact
        return self.max_trials, exact or self._reaches(self.max_trials)

    def _place(self, number: int) -> tuple[int, int, int]:
        """The place of a number's segment, the index of its point there, and the index of its seed."""
        place = bisect_right(self._firsts, number) - 1
        segment = self.segments[place]
        return place, *divmod(number - segment.first, len(segment.seeds))

    def _tried(self, place: int, index: int, seeds: range) -> list[PlannedTrial]:
        """The trials of a point under some of its segment's seeds (by index), but for those of earlier searches."""
        segment = self.segments[place]
        point = segment.searcher.point(index)
        if point is None:
            return []
        first = segment.first + index * len(segment.seeds)
        tried = [(first + i, point, segment.seeds[i]) for i in seeds]
        if not segment.extends:
            return tried
        earlier = self.segments[: segment.extends]
        return [each for each in tried if not any(other.has(point, each[2], index, segment.draws) for other in earlier)]

    def _count_extended(self) -> tuple[int, bool]:
        """An upper bound, or the number itself where few numbers have to be looked at."""
        if self.end <= _COUNTED:
            return sum(1 for _ in self), True
        bound = self.end if self.max_trials is None else min(self.end, self.max_trials)
        return bound, False

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
            taken, next_ = self.take(number, 1_000, max_trials - seen)
            if next_ == number:
                return []
            number = next_
            kept.extend(taken)
            seen += len(taken)
        return list(kept) if seen == max_trials or number >= self.end else []

    def _reaches(self, max_trials: int) -> bool:
        """Whether so many trials are found within a look that stays short."""
        return max_trials <= _LOOKED_AT // 10 and len(self.take(0, max_trials)[0]) == max_trials


def segments(spec: Spec) -> Plan:
    """The plan of a spec: of each search that it extends, and of its own, the points listed, then the grid or draws."""
    found: list[Segment] = []
    first = 0
    for search in spec.earlier:
        found += _segments(search, first, len(found))
        first = search.until or 0
    return Plan((*found, *_segments(spec.search, first, len(found))), spec.max_trials)


def _segments(search: Search, first: int, extends: int) -> list[Segment]:
    parts = []
    if search.points:
        parts.append(Segment(first, ExplicitPoints(search.points), search.seeds, search.until, extends=extends))
        first += len(search.points) * len(search.seeds)
    for stage in search.course:
        # A stage ends with a point's last seed.
        end = None if stage.trials is None else first + -(-stage.trials // len(search.seeds)) * len(search.seeds)
        until = min((each for each in (end, search.until) if each is not None), default=None)
        part = Segment(first, _searcher(search, stage), search.seeds, until, _draws(search, stage), extends)
        parts.append(part)
        first = part.end if end is None else min(end, part.end)
    return [part for part in parts if part.until is None or part.first < part.until]


def _draws(search: Search, stage: Stage) -> str:
    if stage.method != "random" or search.space.size is not None:
        return ""
    fields = search.to_dict()
    return encode([fields[key] for key in ("seed", "parameters", "exclude", "points")])


def _searcher(search: Search, stage: Stage) -> Searcher:
    if stage.method == "grid":
        return GridSearch(search.space, search.points)
    if stage.method != "random":
        return Suggested(stage.method)
    # Drawn without end: as many points as the stage, or max_trials, has use for.
    left = stage.trials or max(0, (search.max_trials or 0) - len(search.points) * len(search.seeds))
    return RandomSearch(search.space, search.seed, search.points, draws=-(-left // len(search.seeds)))
