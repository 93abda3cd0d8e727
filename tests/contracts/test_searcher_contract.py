"""What every searcher that learns promises, whichever it is."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from statistics import fmean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.driver import Goal
from optml_queue.expression import parse
from optml_queue.search.adaptive import FRONT, Task, derived_seed, searcher, untried
from optml_queue.search.evolution import POPULATION, mutation
from optml_queue.search.history import Ask, History, Suggestion, Tell
from optml_queue.search.start import EarlierPoint, Start, read_start
from optml_queue.space import Axis, Choices, Geometric, Interval, Linear, Lists, Space
from optml_queue.trial import Params, TrialState, encode

# Optuna's Gaussian process needs PyTorch, which is large: where it is missing, tests/test_study.py holds what is said.
GP = ["gp"] if find_spec("torch") else []
METHODS = ["tpe", "cma-es", "nsga2", "evolution", *GP]
ANY_SPACE = ["tpe", "nsga2", "evolution"]

NUMBERS = Space((Interval("rate", 1e-6, 1.0, log_scale=True), Interval("width", 1, 64), Linear("decay", 0.0, 0.9, 10)))
TWO_NUMBERS = Space((Interval("rate", 1e-6, 1.0, log_scale=True), Interval("width", 1, 64)))
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
LAYERS = Space(
    (
        Choices("kind", ("plain", "deep")),
        Interval("rate", 1e-6, 1.0, log_scale=True),
        Lists("layers", Choices("layers", (8, 16, 32)), 0, 3, when=parse("kind == 'deep'", ("kind", "layers"))),
        Lists("drops", Interval("drops", 0.0, 0.5), 1, 2, when=parse("len(layers) > 1", ("kind", "layers"))),
    ),
    (parse("layers[1] < 16 or layers[-1] == 8", ("kind", "layers")),),
)
FINITE = Space((Choices("kind", ("a", "b", "c")), Linear("depth", 1, 4, step=1), Geometric("rate", 0.1, 10.0, 3)))
# Most draws of a sampler are excluded or were tried: the last of its points come from elsewhere.
NARROW = Space(
    (Geometric("rate", 1e-6, 1.0, 7), Linear("depth", 1, 9, step=1)), (parse("depth != 2 and rate > 1e-4", NAMES),)
)


def cost(point: Params) -> float:
    """A figure that differs from point to point; worse with a larger rate."""
    rate = float(point["rate"])  # type: ignore[arg-type]
    return abs(math.log10(rate) + 3.0) + 0.1 * float(derived_seed(1, 0) % 7) + 0.01 * len(encode(point))


def few(method: str, usual: int) -> int:
    """How many trials to look at. After ten, a Gaussian process thinks for a second of each."""
    return min(usual, 14) if method == "gp" else usual


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
    trials = few(method, 40)
    history = searched(Task(method, NUMBERS, goal, 3), trials)
    assert len(history.asks) == trials
    assert all(NUMBERS.contains(ask.params) for ask in history.asks)
    assert len({encode(ask.params) for ask in history.asks}) == trials


@pytest.mark.parametrize("method", METHODS)
def test_another_process_suggests_the_same_from_the_same_history(method: str) -> None:
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    last = few(method, 30) - 1
    history = searched(task, last + 1)
    for place in (0, 8, last // 2, last):
        assert_follows(task, history, place)


@pytest.mark.parametrize("method", ["tpe", "cma-es", "nsga2", "evolution"])  # gp thinks long of each draw
def test_the_same_where_most_draws_are_excluded_or_were_tried(method: str) -> None:
    task = Task(method, NARROW, Goal.MINIMIZE, 5)
    history = searched(task, 100)
    assert len(history.asks) == NARROW.count_exact() == len({encode(ask.params) for ask in history.asks})
    for place in (5, 15, 24, 29, 30):
        assert_follows(task, history, place)


def assert_follows(task: Task, history: History, place: int) -> None:
    """The ask at a place is what another process suggests from the asks before it and what had been told."""
    ask = history.asks[place]
    tells = tuple(tell for tell in history.tells if tell.position < ask.seen)
    found = searcher(task).suggest(History(history.asks[:place], tells, ask.seen), [ask.number])
    assert [each.params for each in found] == [ask.params]


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_suggests_others(method: str) -> None:
    first, second = (searched(Task(method, NUMBERS, Goal.MINIMIZE, seed), 5) for seed in (1, 2))
    assert [ask.params for ask in first.asks] != [ask.params for ask in second.asks]


@pytest.mark.parametrize("method", METHODS)
def test_suggestions_that_another_reserved_instead_leave_no_trace(method: str) -> None:
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    trials = few(method, 20)
    history = searched(task, trials)
    learner = searcher(task)
    learner.suggest(history, [trials, trials + 1])
    others = (*history.asks, Ask(trials, {"rate": 0.25, "width": 7, "decay": 0.3}))
    then = History(others, history.tells, history.seen)
    assert learner.suggest(then, [trials + 1]) == searcher(task).suggest(then, [trials + 1])


@pytest.mark.parametrize("method", METHODS)
def test_another_process_may_have_suggested_from_less(method: str) -> None:
    """Two control processes take turns: the second had not seen the last results when it reserved its point."""
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    trials = few(method, 20)
    history = searched(task, trials)
    learner = searcher(task)
    learner.suggest(history, [trials])
    before = History(history.asks, history.tells[:-3], history.seen - 3)
    theirs = Ask(trials, searcher(task).suggest(before, [trials])[0].params, before.seen, method)
    then = History((*history.asks, theirs), history.tells, history.seen)
    assert learner.suggest(then, [trials + 1]) == searcher(task).suggest(then, [trials + 1])


@pytest.mark.parametrize("method", ["tpe", "cma-es", "nsga2", "evolution"])
def test_a_process_that_lags_behind_makes_no_other_forget(method: str) -> None:
    """Every third point comes from a process that had not seen what the one before it had."""
    task = Task(method, NARROW, Goal.MINIMIZE, 5)
    asks: list[Ask] = []
    tells: list[Tell] = []
    ahead = searcher(task)
    while True:
        is_late = len(asks) % 3 == 2
        seen = max(0, len(tells) - 2) if is_late else len(tells)
        history = History(tuple(asks), tuple(tells[:seen]), seen)
        found = (searcher(task) if is_late else ahead).suggest(history, [len(asks)])
        if not found:
            break
        asks.append(Ask(len(asks), found[0].params, seen, method))
        tells.append(Tell(len(tells), len(tells), TrialState.COMPLETE, cost(asks[-1].params)))
    assert len(asks) == NARROW.count_exact() == len({encode(ask.params) for ask in asks})


@pytest.mark.parametrize("method", ["cma-es", "nsga2", *GP])
def test_of_points_that_lack_a_value_in_the_space_nothing_is_known(method: str) -> None:
    """A search goes on in a smaller space: what lies outside takes no parameter from those that know them together."""
    task = Task(method, NUMBERS, Goal.MINIMIZE, 5)
    history = searched(task, 60 if method == "nsga2" else few(method, 20))
    smaller = replace(task, space=Space((Interval("rate", 1e-6, 1e-2, log_scale=True), *NUMBERS.axes[1:])))
    outside = {ask.number for ask in history.asks if not smaller.space.contains(ask.params)}
    assert 2 < len(outside) < len(history.asks) - 2
    failed = [replace(tell, state=TrialState.FAILED, value=None) for tell in history.tells]
    tells = tuple(worse if tell.number in outside else tell for tell, worse in zip(history.tells, failed, strict=True))
    numbers = range(len(history.asks), len(history.asks) + 3)
    found = searcher(smaller).suggest(history, numbers)
    assert found == searcher(smaller).suggest(replace(history, tells=tells), numbers)
    assert all(smaller.space.contains(each.params) for each in found)


@pytest.mark.parametrize("method", ANY_SPACE)
def test_conditions_decide_which_parameters_a_point_has(method: str) -> None:
    history = searched(Task(method, CONDITIONAL, Goal.MINIMIZE, 2), 60)
    points = [ask.params for ask in history.asks]
    assert all(CONDITIONAL.contains(point) for point in points)
    assert all(("depth" in point) == (point["kind"] == "deep") for point in points)
    assert any("widths" in point for point in points)


@pytest.mark.parametrize("method", ANY_SPACE)
def test_lists_are_in_the_space_and_suggested_again_from_the_same_history(method: str) -> None:
    task = Task(method, LAYERS, Goal.MINIMIZE, 2)
    history = searched(task, 18)
    points = [ask.params for ask in history.asks]
    assert len({encode(point) for point in points}) == 18
    assert all(LAYERS.contains(point) for point in points)
    assert {len(layers) for point in points if isinstance(layers := point.get("layers"), list)} >= {0, 1, 2}
    assert_follows(task, history, 17)


@pytest.mark.parametrize("method", ["tpe", "cma-es", *GP])
def test_a_list_of_one_length_is_so_many_parameters_of_optunas(method: str) -> None:
    of = Interval("x", 1e-6, 1.0, log_scale=True)
    listed = Space((Lists("x", of, 3, 3),))
    apart = Space(tuple(replace(of, name=f"x[{place}]") for place in range(3)))
    found = [searched_without_failures(Task(method, space, Goal.MINIMIZE, 1), 15, depth) for space in (listed, apart)]
    assert [ask.params["x"] for ask in found[0].asks] == [list(ask.params.values()) for ask in found[1].asks]


@given(st.sampled_from(LAYERS.axes[2:]), st.integers(0, 2**32))
def test_a_mutated_list_has_an_element_more_or_less_or_another(axis: Axis, seed: int) -> None:
    chance = random.Random(seed)
    before = axis.draw(lambda _part: chance.random())
    after = mutation(axis, before, chance)
    assert isinstance(before, list)
    assert isinstance(after, list)
    assert axis.contains(after)
    assert after != before
    longer, shorter = sorted((before, after), key=len, reverse=True)
    if len(longer) == len(shorter):
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    else:
        assert shorter in [longer[:place] + longer[place + 1 :] for place in range(len(longer))]


def test_every_kind_of_mutation_of_a_list_happens() -> None:
    chance = random.Random(0)
    lengths = [len(after) for _ in range(300) if isinstance(after := mutation(LAYERS.axes[2], [8, 8], chance), list)]
    assert all(70 < lengths.count(length) < 130 for length in (1, 2, 3))
    single = Lists("x", Choices("x", (7,)), 2, 2)
    assert single.size == 1  # and so no parameter that mutation would choose


@pytest.mark.parametrize("method", [*ANY_SPACE, *GP])
def test_a_finite_space_is_gone_through_once_and_then_over(method: str) -> None:
    space = FINITE if method != "gp" else Space((FINITE.axes[0], Geometric("rate", 0.1, 10.0, 4)))
    history = searched(Task(method, space, Goal.MINIMIZE, 4), 100)
    assert len(history.asks) == space.size == len({encode(ask.params) for ask in history.asks})


@pytest.mark.parametrize("method", ANY_SPACE)
def test_what_a_server_has_forgotten_may_be_tried_again(method: str) -> None:
    task = Task(method, FINITE, Goal.MINIMIZE, 4)
    history = searched(task, 100)
    learner = searcher(task)
    assert learner.suggest(history, [36]) == []
    before = History(history.asks[:20], history.tells[:15], 15)
    assert learner.suggest(before, [20]) == searcher(task).suggest(before, [20]) != []


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_better_points_than_chance(method: str) -> None:
    history = searched(Task(method, NUMBERS, Goal.MINIMIZE, 1), 80 if method != "gp" else 20, running=1)
    quarter = len(history.asks) // 4
    early, late = ([cost(a.params) for a in part] for part in (history.asks[:quarter], history.asks[-quarter:]))
    # NSGA-II has a population of 50: one generation of children is all that it had.
    assert median(late) < median(early) if method != "nsga2" else min(late) < max(early)


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

    task = Task(method, TWO_NUMBERS, Goal.MINIMIZE, 11)
    trials = few(method, 30)
    ours = [ask.params for ask in searched_without_failures(task, trials).asks]
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
    for number in range(trials):
        study.sampler = samplers[method](derived_seed(11, number))
        trial = study.ask()
        point: Params = {
            "rate": trial.suggest_float("rate", 1e-6, 1.0, log=True),
            "width": trial.suggest_int("width", 1, 64),
        }
        theirs.append(point)
        study.tell(trial, cost(point))
    assert ours == theirs


class Peer:
    """Optuna used as its documentation shows, beside a history: it is told what was told, and asked what was asked.

    Trials that its sampler did not suggest are added: to NSGA-II, as members of the generation that it has begun. What
    was tried fails at once, and is asked for again.
    """

    def __init__(self, task: Task) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.task = optuna, task
        self.study = optuna.create_study()
        self.source: list[Any] | None = None
        self.places: list[int] = []  # the number in the study of each of the history's trials
        self.tried: list[Params] = []

    def sampler(self, seed: int) -> Any:
        samplers = self.optuna.samplers
        if self.task.method == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if self.source is None:
            complete = [trial for trial in self.study.trials if trial.state.name == "COMPLETE"]
            self.source = complete if len(complete) >= 20 else []
        random = samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
            return samplers.CmaEsSampler(
                seed=seed,
                independent_sampler=random,
                warn_independent_sampling=False,
                source_trials=self.source or None,
            )

    def point(self, number: int) -> Params:
        for draw in range(10):
            self.study.sampler = self.sampler(derived_seed(self.task.seed, number, draw))
            trial = self.study.ask()
            point: Params = {
                "rate": trial.suggest_float("rate", 1e-6, 1.0, log=True),
                "width": trial.suggest_int("width", 1, 64),
                "decay": trial.suggest_float("decay", 0.0, 0.9),
            }
            if point not in self.tried:
                self.places.append(trial.number)
                self.tried.append(point)
                return point
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        raise AssertionError("ten points that were tried")

    def add(self, point: Params) -> None:
        forms = self.optuna.distributions
        known = self.study.get_trials(deepcopy=False)
        generations = [trial.system_attrs.get("NSGAIISampler:generation", 0) for trial in known]
        trial = self.optuna.trial.create_trial(
            state=self.optuna.trial.TrialState.RUNNING,
            params=point,
            distributions={
                "rate": forms.FloatDistribution(1e-6, 1.0, log=True),
                "width": forms.IntDistribution(1, 64),
                "decay": forms.FloatDistribution(0.0, 0.9),
            },
            system_attrs={"NSGAIISampler:generation": max(generations, default=0)},
        )
        self.study.add_trial(trial)
        self.places.append(len(known))
        self.tried.append(point)

    def tell(self, tell: Tell) -> None:
        failed = self.optuna.trial.TrialState.FAIL
        self.study.tell(self.places[tell.number], tell.value, state=failed if tell.value is None else None)


REAL = Space((Interval("rate", 1e-6, 1.0, log_scale=True), Interval("width", 1, 64), Interval("decay", 0.0, 0.9)))


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("cma-es", [("cma-es", 40)]),
        ("cma-es", [("random", 40), ("cma-es", 40)]),
        ("cma-es", [("cma-es", 20), ("random", 15), ("cma-es", 20)]),
        ("nsga2", [("nsga2", 170)]),
        ("nsga2", [("random", 120), ("nsga2", 60)]),
        ("nsga2", [("nsga2", 65), ("random", 60), ("nsga2", 60)]),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_warm_or_cold_it_is_optunas_sampler_whatever_is_told_when(
    method: str, stages: list[tuple[str, int]], seed: int
) -> None:
    """Up to nine trials run, end in any order, some alike and some failed; now and then the process is another one."""
    chance, task = random.Random(seed), Task(method, REAL, Goal.MINIMIZE, seed)
    ours, theirs = searcher(task), Peer(task)
    asks: list[Ask] = []
    tells: list[Tell] = []
    running: list[Ask] = []
    for number, stage in enumerate(name for name, count in stages for _ in range(count)):
        while running and (len(running) > 8 or chance.random() < 0.5):
            ask = running.pop(chance.randrange(len(running)))
            failed = chance.random() < 0.1
            tells.append(Tell(ask.number, len(tells), *failure_or(None if failed else round(cost(ask.params), 1))))
            theirs.tell(tells[-1])
        if chance.random() < 0.03:
            ours = searcher(task)
        if stage == method:
            point = ours.suggest(History(tuple(asks), tuple(tells), len(tells)), [number])[0].params
            assert point == theirs.point(number), number
        else:
            point = untried(REAL, set(), seed, number) or {}
            theirs.add(point)
        asks.append(Ask(number, point, len(tells), stage))
        running.append(asks[-1])


def failure_or(value: float | None) -> tuple[TrialState, float | None]:
    return (TrialState.FAILED, None) if value is None else (TrialState.COMPLETE, value)


def test_cma_es_starts_from_trials_that_have_choices_too() -> None:
    space = Space((*REAL.axes, Choices("kind", ("a", "b", "c"))))
    asks = tuple(Ask(number, untried(space, set(), 9, number) or {}, number) for number in range(200))
    tells = tuple(Tell(ask.number, ask.number, TrialState.COMPLETE, cost(ask.params)) for ask in asks)
    found = searcher(Task("cma-es", space, Goal.MINIMIZE, 5)).suggest(History(asks, tells, 200), range(200, 220))
    assert {each.params["kind"] for each in found} == {"a", "b", "c"}
    assert sorted(cost(each.params) for each in found)[10] < sorted(cost(ask.params) for ask in asks)[50]


def depth(point: Params) -> float:
    """A figure of all numbers of a point, listed or not."""
    listed = (value if isinstance(value, list) else [value] for value in point.values())
    numbers = (float(str(number)) for values in listed for number in values)
    return sum((place + 1) * abs(math.log10(number) + 3.0) for place, number in enumerate(numbers))


def searched_without_failures(task: Task, trials: int, cost: Callable[[Params], float] = cost) -> History:
    asks: list[Ask] = []
    tells: list[Tell] = []
    learner = searcher(task)
    for number in range(trials):
        history = History(tuple(asks), tuple(tells), number)
        point = learner.suggest(history, [number])[0].params
        asks.append(Ask(number, point, number, task.method))
        tells.append(Tell(number, number, TrialState.COMPLETE, cost(point)))
    return History(tuple(asks), tuple(tells), trials)


def two_figures(point: Params) -> tuple[float, float]:
    """How near a point's rate is to 1e-4, smallest best, and how near to 1e-2, largest best; depth costs in both."""
    rate = math.log10(float(point["rate"]))  # type: ignore[arg-type]
    depth = float(point["width"]) / 64  # type: ignore[arg-type]
    return abs(rate + 4.0) + depth, -abs(rate + 2.0) - depth


TWO_METRICS = Task("nsga2", TWO_NUMBERS, Goal.MINIMIZE, 11, (Goal.MAXIMIZE,))


def searched_for_the_front(task: Task, trials: int) -> list[Params]:
    """The points of a search that knows two figures of each; some trials diverge, fail or are stopped."""
    asks: list[Ask] = []
    tells: list[Tell] = []
    learner = searcher(task)
    for number in range(trials):
        point = learner.suggest(History(tuple(asks), tuple(tells), number), [number])[0].params
        asks.append(Ask(number, point, number, task.method))
        first, second = two_figures(point)
        tells.append(Tell(number, number, TrialState.COMPLETE, first, (second,)))
        if number % 9 == 8:
            tells[-1] = Tell(number, number, TrialState.DIVERGED)
        elif number % 7 == 6:
            tells[-1] = Tell(number, number, TrialState.STOPPED_EARLY, first, (None,))
        elif number % 11 == 10:
            tells[-1] = Tell(number, number, TrialState.FAILED)
    return [ask.params for ask in asks]


def test_nsga2_looks_for_the_front_of_several_metrics() -> None:
    found = [two_figures(point) for point in searched_for_the_front(TWO_METRICS, 200)]
    away = [first - second for first, second in found]  # 2 on the front, and more elsewhere
    assert fmean(away[150:]) < fmean(away[:50]) - 0.5


@pytest.mark.parametrize("method", [method for method in METHODS if method not in FRONT])
def test_to_other_methods_the_first_metric_alone_counts(method: str) -> None:
    task = replace(TWO_METRICS, method=method)
    trials = few(method, 30)
    assert searched_for_the_front(task, trials) == searched_for_the_front(replace(task, others=()), trials)


def test_it_is_a_fresh_nsga2_of_optuna_over_the_same_history_of_two_metrics() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize", "maximize"])
    theirs: list[Params] = []
    worst = [-math.inf, math.inf]
    for number in range(130):
        for draw in range(10):  # a child like a point that was tried is none
            study.sampler = optuna.samplers.NSGAIISampler(seed=derived_seed(11, number, draw))
            trial = study.ask()
            rate, width = trial.suggest_float("rate", 1e-6, 1.0, log=True), trial.suggest_int("width", 1, 64)
            point: Params = {"rate": rate, "width": width}
            if point not in theirs:
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        theirs.append(point)
        first, second = two_figures(theirs[-1])
        if number % 9 == 8:
            first, second = worst
        elif number % 7 == 6:
            second = worst[1]
        elif number % 11 == 10:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, [first, second])
        worst = [max(worst[0], first), min(worst[1], second)]
    assert searched_for_the_front(TWO_METRICS, 130) == theirs


def start(space: Space, trials: int) -> Start:
    """Results of another experiment over a space, from the worst to the best."""
    drawn = [untried(space, set(), 99, number) for number in range(trials)]
    points = [
        EarlierPoint("lms-k3f9a", number, point, TrialState.COMPLETE, cost(point))
        for number, point in enumerate(drawn)
        if point is not None
    ]
    return Start(tuple(sorted(points, key=lambda point: -(point.value or 0.0))))


@pytest.mark.parametrize("method", METHODS)
def test_a_search_begins_with_what_an_earlier_one_found(method: str) -> None:
    task, known = Task(method, NUMBERS, Goal.MINIMIZE, 5), start(NUMBERS, 60)
    asks: list[Ask] = []
    tells: list[Tell] = []
    learner = searcher(task)
    for number in range(4):
        history = known.before(History(tuple(asks), tuple(tells), len(tells)))
        asks.append(Ask(number, learner.suggest(history, [number])[0].params, len(tells), method))
        tells.append(Tell(number, number, TrialState.COMPLETE, cost(asks[-1].params)))
    assert all(NUMBERS.contains(ask.params) for ask in asks)
    assert asks[-1].params == searcher(task).suggest(history, [3])[0].params  # as in any other process
    assert asks[0].params != searcher(task).suggest(History(), [0])[0].params
    # It does not begin at random again.
    assert min(tell.value or 0.0 for tell in tells) < sorted(tell.value or 0.0 for tell in known.tells)[15]


@pytest.mark.parametrize("method", ["tpe", "evolution"])
def test_what_an_earlier_experiment_tried_may_be_tried_again(method: str) -> None:
    space = Space((Choices("kind", ("a", "b")), Linear("depth", 1, 3, step=1)))
    every = [point for index in range(6) if (point := space.point(index)) is not None]
    known = Start(tuple(EarlierPoint("a", n, point, TrialState.COMPLETE, float(n)) for n, point in enumerate(every)))
    learner = searcher(Task(method, space, Goal.MINIMIZE, 4))
    asks: list[Ask] = []
    while found := learner.suggest(known.before(History(tuple(asks), (), 0)), [len(asks)]):
        asks.append(Ask(len(asks), found[0].params, 0, method))
    assert len(asks) == 6 == len({encode(ask.params) for ask in asks})


def test_a_child_of_an_earlier_experiments_point_names_it() -> None:
    known = start(NUMBERS, 40)
    history = known.before(History())
    found = searcher(Task("evolution", NUMBERS, Goal.MINIMIZE, 5)).suggest(history, [0])[0]
    (parent,) = found.parents
    assert parent < 0
    assert known.ancestor(parent) == f"lms-k3f9a/{known.points[parent].number}"
    # The first population are the best.
    assert (known.points[parent].value or 0.0) <= sorted(point.value or 0.0 for point in known.points)[POPULATION]


@pytest.mark.parametrize("whence", ["an earlier experiment", "the stage before"])
def test_nsga2_takes_its_first_parents_from(whence: str) -> None:
    # Of 60 equal points but for their figures, every gene of a child is a parent's unless it mutates.
    point: Params = {"rate": 0.001, "width": 7, "decay": 0.3}
    if whence == "the stage before":
        asks = tuple(Ask(n, point, n, "random") for n in range(60))
        before = History(asks, tuple(Tell(n, n, TrialState.COMPLETE, float(n)) for n in range(60)), 60)
    else:
        known = Start(tuple(EarlierPoint("a", n, point, TrialState.COMPLETE, float(n)) for n in range(60)))
        before = known.before(History())
    found = searcher(Task("nsga2", NUMBERS, Goal.MINIMIZE, 5)).suggest(before, range(60, 72))
    inherited = [each.params[name] == value for each in found for name, value in point.items() if name != "rate"]
    assert sum(inherited) > len(inherited) // 2


def test_the_start_is_kept_as_lines() -> None:
    known = Start((*start(NUMBERS, 3).points, EarlierPoint("b", 7, {"kind": [1, "a"]}, TrialState.DIVERGED)))
    known = Start((*known.points, EarlierPoint("b", 8, {"kind": []}, TrialState.COMPLETE, 0.1, (2.5, None))))
    assert read_start(f"{point.to_json()}\n".encode() for point in known.points) == known
