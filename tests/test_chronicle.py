"""A history that grows is the history that all trials and the whole log make; how much is suggested ahead of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue import suggestions
from optml_queue.driver import Goal
from optml_queue.search.chronicle import LASTING, Chronicle
from optml_queue.search.history import Ask, History, Tell, history_of
from optml_queue.search.thinning import thinned
from optml_queue.trial import TERMINAL_STATES, Trial, TrialState

METRICS = ["m", "k"]
SEEDS = 2
REOPENABLE = sorted(TERMINAL_STATES - LASTING)


class World:
    """Trials as a store has them: two of each point, reserved together, finished and opened again in any order."""

    def __init__(self) -> None:
        self.trials: dict[int, Trial] = {}
        self.log: list[int] = []

    def reserve(self) -> None:
        first = len(self.trials)
        origin = {"method": "tpe", "seen": len(self.log)}
        for number in range(first, first + SEEDS):
            self.trials[number] = Trial(number, TrialState.RUNNING, {"x": first}, number - first, origin=origin)

    def finish(self, choice: int, state: TrialState) -> None:
        running = [number for number, trial in self.trials.items() if trial.finished_at is None]
        if running:
            number = running[choice % len(running)]
            metrics = {"m": float(choice)} if state is not TrialState.FAILED else {}
            metrics |= {"k": float(-choice)} if state is TrialState.COMPLETE and choice % 3 else {}
            self.log.append(number)
            self.trials[number] = replace(self.trials[number], state=state, metrics=metrics, finished_at=1.0)

    def reopen(self, choice: int) -> None:
        ended = [number for number, trial in self.trials.items() if trial.state in REOPENABLE]
        if ended:
            number = ended[choice % len(ended)]
            self.trials[number] = replace(self.trials[number], state=TrialState.QUEUED, finished_at=None)


def first_of(number: int) -> int:
    return number - number % SEEDS


def test_a_broken_constraint_is_as_bad_as_a_diverged_trial() -> None:
    world = World()
    world.reserve()
    for choice in (0, 0):
        world.finish(choice, TrialState.COMPLETE)
    firsts = {number: first_of(number) for number in world.trials}
    assert history_of(world.trials.values(), world.log, METRICS, firsts).tells[0].value == 0.0
    world.trials[1] = replace(world.trials[1], reason="infeasible: m < 0")
    (tell,) = history_of(world.trials.values(), world.log, METRICS, firsts).tells
    assert (tell.state, tell.value) == (TrialState.DIVERGED, None)


steps = st.lists(
    st.one_of(
        st.just(("reserve",)),
        st.tuples(st.just("finish"), st.integers(0, 50), st.sampled_from(sorted(TERMINAL_STATES))),
        st.tuples(st.just("reopen"), st.integers(0, 50)),
        st.just(("look",)),
    ),
    max_size=60,
)


@given(steps)
def test_it_is_what_all_trials_make(course: list[tuple[object, ...]]) -> None:
    world, chronicle = World(), Chronicle(METRICS)
    given_: dict[int, Trial] = {}  # as the chronicle knows them
    for name, *arguments in [*course, ("look",)]:
        if name != "look":
            getattr(world, str(name))(*arguments)
            continue
        assert chronicle.continues_in(world.log)
        found = [t for t in world.trials.values() if t.number not in given_ or given_[t.number].state not in LASTING]
        given_ |= {trial.number: trial for trial in found}
        firsts = {number: first_of(number) for number in world.trials}
        grown = chronicle.history(found, world.log, firsts)
        assert grown == history_of(world.trials.values(), world.log, METRICS, firsts)


def test_a_log_that_a_server_forgot_part_of_does_not_continue() -> None:
    chronicle = Chronicle(METRICS)
    chronicle.history([], [0, 1, 2], {})
    assert chronicle.continues_in([0, 1, 2, 5])
    assert not chronicle.continues_in([0, 1])
    assert not chronicle.continues_in([0, 1, 3])


def told(values: list[float], running: int = 3) -> History:
    asks = tuple(Ask(number, {"x": number}) for number in range(len(values) + running))
    tells = (Tell(number, number, TrialState.COMPLETE, value) for number, value in enumerate(values))
    return History(asks, tuple(tells), len(values))


def test_a_thinned_history_has_the_best_and_some_of_every_time() -> None:
    history = told([float(99 - number) for number in range(100)])
    found = thinned(history, Goal.MINIMIZE, 20)
    numbers = [tell.number for tell in found.tells]
    assert numbers == sorted(numbers)
    assert len(numbers) == 20
    assert numbers[10:] == list(range(90, 100))
    assert {number // 30 for number in numbers[:10]} == {0, 1, 2}
    assert [ask.number for ask in found.asks] == [*numbers, 100, 101, 102]
    assert {tell.number for tell in thinned(history, Goal.MAXIMIZE, 20).tells} >= set(range(10))


def test_a_short_history_stays_as_it_is() -> None:
    history = told([1.0] * 20)
    assert thinned(history, Goal.MINIMIZE, 20) is history


@pytest.mark.parametrize(
    ("workers", "load", "wait"),
    [(8, 0.0, 0), (8, 0.05, 0), (8, 0.17, 1), (8, 5.0, 1), (64, 0.3, 0), (64, 0.7, 4), (64, 1.0, 8), (1, 0.5, 1)],
)
def test_no_more_is_suggested_ahead_than_a_busy_sampler_needs(workers: int, load: float, wait: int) -> None:
    assert suggestions.ahead(workers, load) == wait
