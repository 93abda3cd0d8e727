"""The history of an experiment that goes on: what changes no more is kept, and only what came since is looked at.

It is what `history_of` makes of all trials and the whole log. Asks and tells that were there before are the same
objects again, so whoever compares two histories is soon done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from optml_queue.search.history import Ask, History, Tell, ask_of, tell_of
from optml_queue.trial import REOPENABLE_STATES, TERMINAL_STATES, Trial

LASTING = TERMINAL_STATES - REOPENABLE_STATES


class Chronicle:
    """A history that grows with the log of finished trials."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._log: list[int] = []
        self._last: dict[int, int] = {}  # number of a trial -> its last place in the log
        self._asks: dict[int, Ask] = {}  # by the first number of the point
        self._tells: list[Tell] = []  # of points all of whose trials are in a lasting state
        self._open: defaultdict[int, dict[int, Trial]] = defaultdict(dict)  # the others: first number -> its trials

    def continues_in(self, log: Sequence[int]) -> bool:
        """Whether a log begins with what is known: a server that crashes may forget its last second."""
        return log[: len(self._log)] == self._log

    def history(self, found: Iterable[Trial], log: Sequence[int], first_of: Mapping[int, int]) -> History:
        """The history, given trials as they are now: those not given before, and those whose state was not lasting.

        `first_of` maps the number of a trial to that of the first trial of its point; trials that it lacks are passed
        over.
        """
        for position in range(len(self._log), len(log)):
            self._last[log[position]] = position
        self._log = list(log)
        for trial in found:
            first = first_of.get(trial.number)
            if first is not None:
                self._open[first][trial.number] = trial
        self._ask()
        loose = self._tell()
        tells = sorted([*self._tells, *loose], key=lambda tell: tell.position) if loose else self._tells
        return History(tuple(self._asks.values()), tuple(tells), len(log))

    def _ask(self) -> None:
        """Points are asked for in the order of numbers, and stay; but for what a server has forgotten."""
        is_in_order = True
        for first in sorted(self._open):
            trials = self._open[first]
            ask = ask_of(first, [trials[number] for number in sorted(trials)])
            if self._asks.get(first) != ask:
                is_in_order = is_in_order and first > next(reversed(self._asks), -1)
                self._asks[first] = ask
        if not is_in_order:
            self._asks = dict(sorted(self._asks.items()))

    def _tell(self) -> list[Tell]:
        """Note the points that ended for good; the tells of those that ended and may be opened again."""
        loose, lasting = [], []
        for first in list(self._open):
            trials = list(self._open[first].values())
            if any(trial.number not in self._last or trial.finished_at is None for trial in trials):
                continue
            tell = tell_of(first, max(self._last[trial.number] for trial in trials), trials, self._metrics)
            if all(trial.state in LASTING for trial in trials):
                lasting.append(tell)
                del self._open[first]
            else:
                loose.append(tell)
        self._tells += sorted(lasting, key=lambda tell: tell.position)
        return loose
