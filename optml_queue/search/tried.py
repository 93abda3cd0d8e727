"""The points that need not be tried again, of a history that grows."""

from __future__ import annotations

from collections.abc import Iterable

from optml_queue.search.history import Ask
from optml_queue.trial import encode


def points_of(asks: Iterable[Ask]) -> set[str]:
    """The points that need not be tried again; what an earlier experiment tried may be."""
    return {encode(ask.params) for ask in asks if ask.number >= 0}


class Tried:
    """`points_of` the asks of one history after another: of one that goes on, only what came since is looked at."""

    def __init__(self) -> None:
        self._asks: tuple[Ask, ...] = ()
        self._points: set[str] = set()

    def of(self, asks: tuple[Ask, ...]) -> set[str]:
        """A set of the caller's own."""
        known = len(self._asks)
        if asks[:known] != self._asks:
            known, self._points = 0, set()
        self._points |= points_of(asks[known:])
        self._asks = asks
        return set(self._points)
