"""TPE, Gaussian processes, CMA-ES and NSGA-II: Optuna's samplers over the history of an experiment.

The history is replayed into a study in memory; no database of Optuna's is used. Each suggestion comes from a sampler
of its own, seeded by the search's seed and the number of the trial. So the same history gives the same suggestion in
every process, and what a process remembers is only a cache: it goes on where the history agrees with it, and starts
anew where it does not.

TPE and GP look at the trials alone. CMA-ES and NSGA-II keep their state with the trials that they suggested, so the
replay goes through asks and tells in the recorded order. What they keep follows from what had been told at an ask, not
from the point: that is taken from the history.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from optml_queue.driver import Goal
from optml_queue.search.adaptive import Task, derived_seed, untried
from optml_queue.search.history import Ask, History, Suggestion, Tell
from optml_queue.search.optuna_samplers import WITH_STATE, Samplers
from optml_queue.search.thinning import thinned
from optml_queue.search.tried import Tried, points_of
from optml_queue.space import Axis, Choices, Interval, Space
from optml_queue.trial import Params, ParamValue, TrialState, encode

# How often a sampler is asked again when it suggests an excluded point, or one that was tried.
MAX_DRAWS = 10
# What a Gaussian process is told of: its cost per suggestion grows with the square of it at least.
GP_RESULTS = 250


class OptunaSearch:
    """One of Optuna's samplers as a function of the history."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._replay = _Replay(task)
        self._tried = Tried()

    def suggest(self, history: History, numbers: Sequence[int]) -> list[Suggestion]:
        """A point for each of the numbers; fewer when every point of the space was tried."""
        with _quiet():
            known = thinned(history, self._task.goal, GP_RESULTS) if self._task.method == "gp" else history
            if not self._replay.bring_to(known):
                self._replay = _Replay(self._task)
                self._replay.bring_to(known)
            if known is not history:
                self._replay.avoid(self._tried.of(history.asks))
            suggested: list[Suggestion] = []
            for number in numbers:
                params = self._replay.suggest(number, history.seen)
                if params is None:
                    break
                suggested.append(Suggestion(params))
            return suggested


class _Replay:
    """A study in memory, and how much of a history it has."""

    def __init__(self, task: Task) -> None:
        self._task = task
        with _quiet():
            self._study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(), directions=directions(task.goals)
            )
        self._samplers = Samplers(task.method, self._study)
        self._every = Space(task.space.axes)  # what is excluded, too: of that, results may be known
        self._asks: list[Ask] = []
        self._tells: list[Tell] = []
        self._seen = -math.inf  # the most of the log that any of the asks was suggested from
        self._place: dict[int, int] = {}  # number of an ask -> number of its trial in the study, if it has one
        self._points: set[str] = set()
        self._worst: list[float] | None = None  # of each metric that is pursued

    def bring_to(self, history: History) -> bool:
        """Add what the history has more than this. False when it is not a continuation."""
        asks, tells = history.asks, history.tells
        if self._tells != list(tells[: len(self._tells)]) or not self._agrees(asks):
            return False
        pending = list(tells[len(self._tells) :])[::-1]
        for ask in asks[len(self._asks) :]:
            seen = max(self._seen, ask.seen)  # one process may have known less than another had before it
            if self._tells and self._tells[-1].position >= seen and self._keeps_state(ask):
                return False  # it was suggested before what this study was told last
            while pending and pending[-1].position < seen:
                self._tell(pending.pop())
            self._add(ask)
        while pending:
            self._tell(pending.pop())
        self._asks, self._tells = list(asks), list(tells)  # the same objects: the next comparison is short
        return True

    def _agrees(self, asks: Sequence[Ask]) -> bool:
        """Whether the study's asks begin the history's; what another process reserved instead of them is dropped."""
        if self._asks == list(asks[: len(self._asks)]):
            return True
        pairs = zip(self._asks, asks, strict=False)
        common = next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), len(asks))
        dropped = self._asks[common:]
        if self._task.method in WITH_STATE or {ask.number for ask in dropped} & {tell.number for tell in self._tells}:
            return False
        for ask in dropped:
            if ask.number in self._place:
                self._study.tell(self._place.pop(ask.number), state=OptunaState.FAIL)
        self._asks = self._asks[:common]
        self._points = points_of(self._asks)
        return True

    def _keeps_state(self, ask: Ask) -> bool:
        """Whether the sampler left something with the ask that depends on what it had been told."""
        return ask.method == self._task.method and ask.method in WITH_STATE

    def suggest(self, number: int, seen: int) -> Params | None:
        """A point that is in the space and, where possible, not tried; None when all were."""
        found = self._sampled(number)
        if found is not None:
            point, place = found
            self._note(Ask(number, point, seen, self._task.method), place)
            return point
        other = untried(self._task.space, self._points, self._task.seed, number)
        if other is not None:
            self._add(Ask(number, other, seen, self._task.method))
        return other

    def avoid(self, points: set[str]) -> None:
        """Suggest none of these points (see `points_of`), whether the study has them or not."""
        self._points |= points

    def _note(self, ask: Ask, place: int | None = None) -> None:
        self._asks.append(ask)
        self._seen = max(self._seen, ask.seen)
        self._points |= points_of([ask])
        if place is not None:
            self._place[ask.number] = place

    def _sampled(self, number: int) -> tuple[Params, int] | None:
        """The sampler's point, and its trial in the study; None when it only finds excluded or known ones."""
        for draw in range(MAX_DRAWS):
            seed = derived_seed(self._task.seed, number, draw)
            self._study.sampler = self._samplers.fresh(seed, len(self._asks))
            trial = self._study.ask()
            point = suggested(trial, self._task.space)
            if self._task.space.contains(point) and encode(point) not in self._points:
                return point, trial.number
            self._study.tell(trial, state=OptunaState.FAIL)
        return None

    def _add(self, ask: Ask) -> None:
        """Let the study have an ask of the history, as a running trial.

        Of a point of which the space lacks a value, TPE has the rest. The others search together those parameters alone
        that all trials have: one such point would take a parameter from them for good, so they get none.
        """
        if self._task.method != "tpe" and not self._every.contains(ask.params):
            self._note(ask)
            return
        inner, distributions = inward(ask.params, self._task.space)
        self._study.add_trial(create_trial(state=OptunaState.RUNNING, params=inner, distributions=distributions))
        place = len(self._study.get_trials(deepcopy=False)) - 1
        self._samplers.join(place, is_own=ask.method == self._task.method)
        self._note(ask, place)

    def _tell(self, tell: Tell) -> None:
        self._tells.append(tell)
        place = self._place.get(tell.number)
        if place is None:
            return
        values = self._values(tell)
        if values is None:
            self._study.tell(place, state=OptunaState.FAIL)
            return
        self._study.tell(place, values)
        self._samplers.tell(place)
        pairs = zip(self._task.goals, self._worst or values, values, strict=True)
        self._worst = [max(pair) if goal is Goal.MINIMIZE else min(pair) for goal, *pair in pairs]

    def _values(self, tell: Tell) -> list[float] | None:
        """What a tell counts as, for each metric that is pursued; None for a failure.

        A diverged trial is as bad as the worst that was told before in everything, as Optuna would forget one that
        failed; and a trial is in what nothing was measured of, as of one that was stopped early.
        """
        if tell.state is TrialState.DIVERGED:
            return self._worst
        if tell.value is None:
            return None
        given = [tell.value, *tell.others][: len(self._task.goals)]
        known = [each if each is not None else worst for each, worst in zip(given, self._worst or given, strict=True)]
        values = [each for each in known if each is not None]
        return values if len(values) == len(self._task.goals) else None


def directions(goals: Iterable[Goal]) -> list[StudyDirection]:
    """Which way each of some metrics is to go, in Optuna's terms."""
    return [StudyDirection.MAXIMIZE if goal is Goal.MAXIMIZE else StudyDirection.MINIMIZE for goal in goals]


def distribution(axis: Axis) -> BaseDistribution:
    """What Optuna is asked for: a number of an interval, the index of one in a row of numbers, or a choice."""
    if isinstance(axis, Interval):
        if axis.whole:
            return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return FloatDistribution(float(axis.low), float(axis.high), log=axis.log)
    if isinstance(axis, Choices):
        return CategoricalDistribution([encode(value) for value in axis.values])
    return IntDistribution(0, (axis.size or 1) - 1)


def suggested(trial: optuna.Trial, space: Space) -> Params:
    """The point that a trial of Optuna's suggests, one parameter after the other, as conditions need them.

    A list is a length, and for each place an element: a parameter that only lists have that are long enough.
    """

    def figure(axis: Axis) -> ParamValue:
        if axis.size == 1:
            return axis.value(0)
        form = distribution(axis)
        if isinstance(form, CategoricalDistribution):
            chosen = trial.suggest_categorical(axis.name, form.choices)
            return axis.value(form.choices.index(chosen))
        if isinstance(form, FloatDistribution):
            return trial.suggest_float(axis.name, form.low, form.high, log=form.log)
        assert isinstance(form, IntDistribution)  # noqa: S101 - for mypy: there are three kinds
        number = trial.suggest_int(axis.name, form.low, form.high, log=form.log)
        return number if isinstance(axis, Interval) else axis.value(number)

    return space.build(lambda axis: axis.joined(figure))


def inward(params: Mapping[str, ParamValue], space: Space) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """A point in Optuna's terms. A parameter whose value the space lacks is left out."""
    inner: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    given = ((axis, params[axis.name]) for axis in space.axes if axis.name in params)
    figures = (
        figure
        for axis, value in given
        if axis.contains(value)
        for figure in zip(axis.parts, axis.split(value), strict=False)
    )
    for axis, value in figures:
        if axis.size == 1:
            continue
        form = distribution(axis)
        if isinstance(form, CategoricalDistribution):
            inner[axis.name] = encode(value)
        else:
            inner[axis.name] = value if isinstance(axis, Interval) else axis.index(value)
        distributions[axis.name] = form
    return inner, distributions


class _quiet(warnings.catch_warnings):  # noqa: N801 - a context manager is a verb here
    """Optuna says in warnings and in its log what its users are to know; here nobody sees either."""

    def __enter__(self) -> Any:
        found = super().__enter__()
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return found
