"""How many workers a budget pays for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Claim:
    """What a class may cost: the price of a worker per hour, its part of the budget, its own limits (None: none)."""

    price: float | None
    share: float = 1.0
    max_workers: int | None = None
    budget: float | None = None


def most_workers(claims: Mapping[str, Claim], budget: float | None) -> dict[str, int]:
    """The cap of each class.

    A class with a budget of its own gets ⌊its budget ÷ price⌋ workers. The others divide `budget` by their shares,
    and each gets ⌊its part ÷ price⌋; what is left over of a part goes to nobody, so that all classes at their caps
    cost at most what was allowed. `max_workers` caps in any case. A cap of 0 means that one worker costs too much.
    Prices are taken as they are written: 0.3 ÷ 0.1 is 3.
    """
    shares = sum(_exact(claim.share) for claim in claims.values() if claim.budget is None) or Fraction(1)
    caps = {}
    for name, claim in claims.items():
        allowed: list[int] = [] if claim.max_workers is None else [claim.max_workers]
        part = _part(claim, budget, shares)
        if part is not None and claim.price:
            allowed.append(int(part / _exact(claim.price)))
        caps[name] = min(allowed)
    return caps


def _part(claim: Claim, budget: float | None, shares: Fraction) -> Fraction | None:
    if claim.budget is not None:
        return _exact(claim.budget)
    return None if budget is None else _exact(budget) * _exact(claim.share) / shares


def _exact(number: float) -> Fraction:
    return Fraction(repr(number))
