"""Grid search: every point of a space, in order."""

from __future__ import annotations

from collections.abc import Sequence

from optml_queue.space import Space
from optml_queue.trial import Params


class GridSearch:
    """The points of a countable space in order of their index, less the `known` ones, which were tried before."""

    def __init__(self, space: Space, known: Sequence[Params] = ()) -> None:
        self._space = space
        self._covered = frozenset(index for point in known if (index := space.index(point)) is not None)

    @property
    def size(self) -> int:
        """The number of indices, those without a point included."""
        return self._space.size or 0

    @property
    def gapless(self) -> bool:
        """Whether every index surely has a point."""
        return self._space.gapless and not self._covered

    def point(self, index: int) -> Params | None:
        """The point at an index; None where there is none to try."""
        return None if index in self._covered else self._space.point(index)

    def index(self, point: Params) -> int | None:
        """The index of a point; None when it has none."""
        index = self._space.index(point)
        return None if index in self._covered else index

    def count(self, limit: int) -> tuple[int, bool]:
        """The number of points, and whether it is exact: an upper bound when more than `limit` would be looked at."""
        exact = self._space.count_exact(limit)
        return (self.size if exact is None else exact) - len(self._covered), exact is not None
