"""A random order of the indices of a countable space, in which lists of every length take turns.

In an order of all points alike, nearly all lists would be of the greatest length: of 8 elements there are 8 lists of
length 1 and 4,096 of length 4. Here the space is cut into boxes, one for each combination of lengths. In every round
each box that is not used up gives one of its points, in the order of a permutation of its own. So a point's place is
computed from its index, and the other way round, whatever the size of the space.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from math import prod

from optml_queue.search.permutation import Permutation
from optml_queue.space import Axis, Space

# Spaces of more combinations of lengths are balanced by the first of their lists alone.
_MOST_BOXES = 1_000


class RandomOrder:
    """A bijection of the indices of a countable space, chosen by a seed."""

    def __init__(self, space: Space, seed: int) -> None:
        self._seed = seed
        self._whole = Permutation(space.size or 1, seed)
        self._sizes = [axis.size or 1 for axis in space.axes]
        self._boxes = sorted(_boxes(space.axes), key=lambda box: box.size)
        # After so many rounds the boxes, the smallest first, are used up; and how many places there are till then.
        self._rounds = [0, *(box.size for box in self._boxes)]
        turns = ((self._rounds[n + 1] - self._rounds[n]) * (len(self._boxes) - n) for n in range(len(self._boxes)))
        self._places = list(accumulate(turns, initial=0))

    def __getitem__(self, place: int) -> int:
        """The index that comes at a place. Raises IndexError outside of the space."""
        if len(self._boxes) == 1:
            return self._whole[place]
        if not 0 <= place < self._places[-1]:
            raise IndexError(f"place {place} in a random order of {self._places[-1]}")
        used_up = bisect_right(self._places, place) - 1
        rounds, turn = divmod(place - self._places[used_up], len(self._boxes) - used_up)
        rounds += self._rounds[used_up]
        number = used_up + self._turns(used_up, rounds)[turn]
        return self._boxes[number].index(self._order(number)[rounds], self._sizes)

    def index(self, index: int) -> int:
        """The place at which an index comes: the inverse. Raises IndexError outside of the space."""
        if len(self._boxes) == 1:
            return self._whole.index(index)
        if not 0 <= index < self._places[-1]:
            raise IndexError(f"{index} in a random order of {self._places[-1]}")
        digits = _digits(index, self._sizes)
        number = next(number for number, box in enumerate(self._boxes) if box.has(digits))
        rounds = self._order(number).index(self._boxes[number].place(digits))
        used_up = bisect_right(self._rounds, rounds) - 1
        turn = self._turns(used_up, rounds).index(number - used_up)
        return self._places[used_up] + (rounds - self._rounds[used_up]) * (len(self._boxes) - used_up) + turn

    def _order(self, number: int) -> Permutation:
        """The order of the points of a box."""
        return Permutation(self._boxes[number].size, f"{self._seed}/box {number}")

    def _turns(self, used_up: int, rounds: int) -> Permutation:
        """The order of the boxes that are left in a round."""
        return Permutation(len(self._boxes) - used_up, f"{self._seed}/round {rounds}")


@dataclass(frozen=True, slots=True)
class _Box:
    """A part of a space: for each axis `sizes` values from `starts` on."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.sizes)

    def has(self, digits: Sequence[int]) -> bool:
        """Whether the point with these indices on the axes lies in the box."""
        boxed = zip(digits, self.starts, self.sizes, strict=True)
        return all(start <= digit < start + size for digit, start, size in boxed)

    def place(self, digits: Sequence[int]) -> int:
        """Which of the box's points it is."""
        return _number([digit - start for digit, start in zip(digits, self.starts, strict=True)], self.sizes)

    def index(self, place: int, sizes: Sequence[int]) -> int:
        """The index, in a space of so many values on each axis, of one of the box's points."""
        digits = zip(self.starts, _digits(place, self.sizes), strict=True)
        return _number([start + digit for start, digit in digits], sizes)


def _boxes(axes: Sequence[Axis]) -> list[_Box]:
    """The parts of a space, one for each combination of the axes' sections."""
    runs: list[list[tuple[int, int]]] = []
    boxes = 1
    for axis in axes:
        sections = axis.sections if boxes * len(axis.sections) <= _MOST_BOXES else (axis.size or 1,)
        boxes *= len(sections)
        runs.append(list(zip(accumulate(sections, initial=0), sections, strict=False)))
    return [_Box(tuple(start for start, _ in each), tuple(size for _, size in each)) for each in product(*runs)]


def _digits(number: int, sizes: Sequence[int]) -> list[int]:
    """A number in mixed radix, the last digit the quickest."""
    digits = []
    for size in reversed(sizes):
        number, digit = divmod(number, size)
        digits.append(digit)
    return digits[::-1]


def _number(digits: Sequence[int], sizes: Sequence[int]) -> int:
    """The number that has these digits."""
    number = 0
    for digit, size in zip(digits, sizes, strict=True):
        number = number * size + digit
    return number
