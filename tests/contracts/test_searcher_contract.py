"""What every searcher that learns promises, whichever it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from optml_queue.driver import Goal
from optml_queue.expression import parse
from optml_queue.search.adaptive import Task, derived_seed, searcher
from optml_queue.search.history import Ask, History, Suggestion, Tell
from optml_queue.space import Choices, Geometric, Interval, Linear, Space
from optml_queue.trial import Params, TrialState, encode

# Optuna's Gaussian process needs PyTorch, which is large: where it is missing, tests/test_study.py holds what is said.
GP = ["gp"] if find_spec("torch") else []
METHODS = ["tpe", "cma-es", "nsga2", "evolution", *GP]
ANY_SPACE = ["tpe", "nsga2", "evolution"]

NUMBERS = Space((Interval("rate", 1e-6, 1.0, log_scale=True), Interval("width", 1, 64), Linear("decay", 0.0, 0.9, 10)))
NAMES = {"kind": None, "rate": None, "depth": None, "widths": None}
CONDITIONAL = Space(
    (
        Choices("kind", ("plain", "deep", True)),
        Interval("rate", 1e-6, 1.0, log_scale=True),
        Linear("depth", 1, 5, step=1, when=parse("kind == 'deep'", NAMES)),
        Choices("widths", ([], [16], [16, 32]), when=parse("kind == 'deep' and depth > 2", NAMES)),
    ),
    (parse("rate > 0.5 and kind == 'plain'", NAMES),),
)
FINITE = Space((Choices("kind", ("a", "b", "c")), Linear("depth", 1, 4, step=1), Geometric("rate", 0.1, 10.0, 3)))


def cost(point: Params) -> float:
    """A figure that differs from point to point; worse with a larger rate."""
    rate = float(point["rate"])  # type: ignore[arg-type]
    return abs(math.log10(rate) + 3.0) + 0.1 * float(derived_seed(1, 0) % 7) + 0.01 * len(encode(point))


def searched(task: Task, trials: int, running: int = 3) -> History:
    """A search with some trials running all the time; every ninth diverges, every eleventh fails."""
    asks: list[Ask] = []
    tells: list[Tell] = []
    learner = searcher(task)
    while len(asks) < trials:
        history = History(tuple(asks), tuple(tells), len(tells))
        found = learner.suggest(history, [len(asks)])
        if not found:
            return history
        asks.append(Ask(len(asks), found[0].params, len(tells), task.method))
        if len(asks) > running:
            tells.append(told(asks[len(tells)], len(tells)))
    return History(tuple(asks), tuple(tells), len(tells))


def told(ask: Ask, position: int) -> Tell:
    if ask.number % 9 == 8:
        return Tell(ask.number, position, TrialState.DIVERGED)
    if ask.number % 11 == 10:
        return Tell(ask.number, position, TrialState.FAILED)
    return Tell(ask.number, position, TrialState.COMPLETE, cost(ask.params))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("goal", Goal)
def test_points_are_in_the_space_and_all_apart(method: str, goal: Goal) -> None:
    history = searched(Task(method, NUMBERS, goal, 3), 40)
    assert len(history.asks) == 40
    assert all(NUMBERS.contains(ask.params) for ask in history.asks)
    assert len({encode(ask.params) for ask in history.asks}) == 40


@pytest.mark.parametrize("method", METHODS)
def test_another_process_suggests_the_same_from_the_same_history(method: str) -> None:
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    history = searched(task, 30)
    for length in (1, 9, 17, 30):
        asks = history.asks[:length]
        seen = asks[-1].seen
        tells = tuple(tell for tell in history.tells if tell.position < seen)
        before = History(asks[:-1], tells, seen)
        fresh = searcher(task).suggest(before, [length - 1])
        assert [each.params for each in fresh] == [asks[-1].params]


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_suggests_others(method: str) -> None:
    first, second = (searched(Task(method, NUMBERS, Goal.MINIMIZE, seed), 5) for seed in (1, 2))
    assert [ask.params for ask in first.asks] != [ask.params for ask in second.asks]


@pytest.mark.parametrize("method", METHODS)
def test_suggestions_that_another_reserved_instead_leave_no_trace(method: str) -> None:
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    history = searched(task, 20)
    learner = searcher(task)
    learner.suggest(history, [20, 21, 22])
    others = (*history.asks, Ask(20, {"rate": 0.25, "width": 7, "decay": 0.3}))
    then = History(others, history.tells, history.seen)
    assert learner.suggest(then, [21, 22]) == searcher(task).suggest(then, [21, 22])


@pytest.mark.parametrize("method", METHODS)
def test_another_process_may_have_suggested_from_less(method: str) -> None:
    """Two control processes take turns: the second had not seen the last results when it reserved its point."""
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    history = searched(task, 20)
    learner = searcher(task)
    learner.suggest(history, [20])
    before = History(history.asks, history.tells[:-3], history.seen - 3)
    theirs = Ask(20, searcher(task).suggest(before, [20])[0].params, before.seen, method)
    then = History((*history.asks, theirs), history.tells, history.seen)
    assert learner.suggest(then, [21]) == searcher(task).suggest(then, [21])


@pytest.mark.parametrize("method", ANY_SPACE)
def test_conditions_decide_which_parameters_a_point_has(method: str) -> None:
    history = searched(Task(method, CONDITIONAL, Goal.MINIMIZE, 2), 60)
    points = [ask.params for ask in history.asks]
    assert all(CONDITIONAL.contains(point) for point in points)
    assert all(("depth" in point) == (point["kind"] == "deep") for point in points)
    assert any("widths" in point for point in points)


@pytest.mark.parametrize("method", [*ANY_SPACE, *GP])
def test_a_finite_space_is_gone_through_once_and_then_over(method: str) -> None:
    history = searched(Task(method, FINITE, Goal.MINIMIZE, 4), 100)
    assert len(history.asks) == FINITE.size == len({encode(ask.params) for ask in history.asks})


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_better_points_than_chance(method: str) -> None:
    history = searched(Task(method, NUMBERS, Goal.MINIMIZE, 1), 80, running=1)
    early, late = ([cost(a.params) for a in part] for part in (history.asks[:20], history.asks[-20:]))
    # NSGA-II has a population of 50: one generation of children is all that it had.
    assert sorted(late)[10] < sorted(early)[10] if method != "nsga2" else min(late) < max(early)


def test_children_are_told_their_parents() -> None:
    history = searched(Task("evolution", NUMBERS, Goal.MINIMIZE, 1), 40)
    child = searcher(Task("evolution", NUMBERS, Goal.MINIMIZE, 1)).suggest(history, [40])[0]
    assert isinstance(child, Suggestion)
    (parent,) = child.parents
    before = history.asks[parent].params
    assert sum(child.params[name] != before[name] for name in before) == 1


@pytest.mark.parametrize("method", ["tpe", "cma-es", *GP])
def test_it_is_a_fresh_sampler_of_optuna_with_the_same_history(method: str) -> None:
    """Against Optuna used as its own documentation shows: ask, suggest, tell; a sampler for each trial."""
    import optuna

    space = Space((Interval("rate", 1e-6, 1.0, log_scale=True), Interval("width", 1, 64)))
    task = Task(method, space, Goal.MINIMIZE, 11)
    ours = [ask.params for ask in searched_without_failures(task, 30).asks]
    samplers: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
        "cma-es": lambda seed: optuna.samplers.CmaEsSampler(
            seed=seed, independent_sampler=optuna.samplers.RandomSampler(seed=seed), warn_independent_sampling=False
        ),
        "gp": lambda seed: optuna.samplers.GPSampler(
            seed=seed, independent_sampler=optuna.samplers.RandomSampler(seed=seed)
        ),
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    theirs = []
    for number in range(30):
        study.sampler = samplers[method](derived_seed(11, number))
        trial = study.ask()
        point: Params = {
            "rate": trial.suggest_float("rate", 1e-6, 1.0, log=True),
            "width": trial.suggest_int("width", 1, 64),
        }
        theirs.append(point)
        study.tell(trial, cost(point))
    assert ours == theirs


def searched_without_failures(task: Task, trials: int) -> History:
    asks: list[Ask] = []
    tells: list[Tell] = []
    learner = searcher(task)
    for number in range(trials):
        history = History(tuple(asks), tuple(tells), number)
        point = learner.suggest(history, [number])[0].params
        asks.append(Ask(number, point, number, task.method))
        tells.append(Tell(number, number, TrialState.COMPLETE, cost(point)))
    return History(tuple(asks), tuple(tells), trials)
