"""What a searcher is told before its first suggestion: results of earlier experiments.

They come before all asks and tells of the experiment: the point at place i of n has the number and the position i − n,
and each is told before the next is asked. So to a searcher they are one history with what follows, and to everybody
else numbers below zero are of trials that this experiment does not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from optml_queue.search.history import Ask, History, Tell
from optml_queue.trial import Params, TrialState, encode


@dataclass(frozen=True, slots=True)
class EarlierPoint:
    """A point with its result (see Tell); `experiment` and `number` say of which trial, the first of its seeds."""

    experiment: str
    number: int
    params: Params
    state: TrialState
    value: float | None = None
    others: tuple[float | None, ...] = ()

    def to_json(self) -> str:
        return encode([self.experiment, self.number, self.params, self.state, self.value, *self.others])

    @classmethod
    def from_json(cls, text: str | bytes) -> EarlierPoint:
        experiment, number, params, state, value, *others = json.loads(text)
        return cls(experiment, number, params, TrialState(state), value, tuple(others))


@dataclass(frozen=True)
class Start:
    """Points of earlier experiments, in the order in which a searcher is told of them."""

    points: tuple[EarlierPoint, ...] = ()
    asks: tuple[Ask, ...] = field(init=False, compare=False)
    tells: tuple[Tell, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        places = range(-len(self.points), 0)
        pairs = list(zip(places, self.points, strict=True))
        object.__setattr__(self, "asks", tuple(Ask(place, point.params, place) for place, point in pairs))
        tells = (Tell(place, place, point.state, point.value, point.others) for place, point in pairs)
        object.__setattr__(self, "tells", tuple(tells))

    def before(self, history: History) -> History:
        """The history with these points in front."""
        if not self.points:
            return history
        return History((*self.asks, *history.asks), (*self.tells, *history.tells), history.seen)

    def ancestor(self, number: int) -> str:
        """The trial that a number below zero stands for, as in `lms-k3f9a/17`."""
        point = self.points[number]
        return f"{point.experiment}/{point.number}"


NO_START = Start()


def read_start(lines: Iterable[bytes]) -> Start:
    """The start that was written as lines of `EarlierPoint.to_json`."""
    return Start(tuple(map(EarlierPoint.from_json, lines)))
