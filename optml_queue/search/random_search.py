"""Random search: point i of a seed's sequence, computed from seed and i alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from optml_queue.search.random_order import RandomOrder
from optml_queue.space import Space
from optml_queue.trial import Params, encode

_MAX_DRAWS = 1_000


class RandomSearch:
    """The points of a space in random order, less the `known` ones, which were tried before.

    A countable space is gone through in a random order that repeats nothing and has short lists as often as long ones.
    Any other is drawn from `draws` times: an excluded point is drawn again, up to a thousand times. Numbers come from a
    hash rather than from NumPy's generators, whose streams may change between versions; each parameter has its own, so
    that adding one leaves the draws of the others as they were.
    """

    def __init__(self, space: Space, seed: int, known: Sequence[Params] = (), draws: int = 0) -> None:
        self._space = space
        self._seed = seed
        self._known = frozenset(map(encode, known))
        self._draws = draws
        self._order = None if space.size is None else RandomOrder(space, seed)
        covered = (space.index(point) for point in known) if self._order else ()
        self._covered = frozenset(index for index in covered if index is not None)

    @property
    def size(self) -> int:
        """The number of indices, those without a point included."""
        return self._draws if self._space.size is None else self._space.size

    @property
    def gapless(self) -> bool:
        """Whether every index has a point: surely in a countable space, in practice when drawn."""
        return self._order is None or (self._space.gapless and not self._covered)

    def point(self, index: int) -> Params | None:
        """The point at an index; None where there is none to try. Raises IndexError outside 0 ≤ index < size."""
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} of a random search of {self.size}")
        if self._order is None:
            return self._drawn(index)
        place = self._order[index]
        return None if place in self._covered else self._space.point(place)

    def index(self, point: Params) -> int | None:
        """The index of a point; None when it has none, or the space is drawn from, not counted."""
        place = None if self._order is None else self._space.index(point)
        if place is None or place in self._covered or self._order is None:
            return None
        return self._order.index(place)

    def count(self, limit: int) -> tuple[int, bool]:
        """The number of points, and whether it is exact: an upper bound when more than `limit` would be looked at."""
        if self._order is None:
            return self.size, True
        exact = self._space.count_exact(limit)
        return (self.size if exact is None else exact) - len(self._covered), exact is not None

    def _drawn(self, index: int) -> Params | None:
        for draw in range(_MAX_DRAWS):
            prefix = f"{self._seed}/{index}/{draw}/"
            point = self._space.draw(lambda name, prefix=prefix: _fraction(prefix + name))  # type: ignore[misc]
            if point is not None and not (self._known and encode(point) in self._known):
                return point
        return None


def _fraction(text: str) -> float:
    """A number that is uniform in [0, 1) over texts: 53 bits of a hash."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 11) * 2.0**-53
