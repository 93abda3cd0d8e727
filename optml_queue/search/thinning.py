"""A long history made shorter, for searchers whose suggestions cost more than in proportion to it."""

from __future__ import annotations

from optml_queue.driver import Goal
from optml_queue.search.history import History


def thinned(history: History, goal: Goal, most: int) -> History:
    """The history with at most `most` results: the better half of them the best, the others spread evenly over time.

    The rest is left out with its asks. Points that run stay. A shorter history is returned as it is.
    """
    if len(history.tells) <= most:
        return history
    ranked = sorted(history.tells, key=lambda tell: _rank(tell.value, goal))
    best = {tell.number for tell in ranked[: most // 2]}
    others = [tell.number for tell in history.tells if tell.number not in best]
    left = most - len(best)
    kept = best | {others[(2 * place + 1) * len(others) // (2 * left)] for place in range(left)}
    told = {tell.number for tell in history.tells}
    return History(
        tuple(ask for ask in history.asks if ask.number in kept or ask.number not in told),
        tuple(tell for tell in history.tells if tell.number in kept),
        history.seen,
    )


def _rank(value: float | None, goal: Goal) -> float:
    """Smallest best; what has no value comes last."""
    if value is None:
        return float("inf")
    return -value if goal is Goal.MAXIMIZE else value
