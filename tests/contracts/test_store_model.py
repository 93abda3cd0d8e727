"""The life of a trial: the reference model held against a real server, and every world it can come into explored."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from optml_queue.driver import Order
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import InputError
from optml_queue.store import Assignment, ExperimentState, NewTrial, RestoredTrial, Store, Submission
from optml_queue.trial import TrialResult, TrialState, digest
from tests.contracts import trial_model
from tests.contracts.trial_model import (
    COMPLETE,
    FRESH,
    LIVE,
    PUBLISHED,
    QUEUED,
    RUNNING,
    STOPPED,
    StoreModel,
    TrialModel,
)
from tests.contracts.trial_world import Step, Weather, World, canonical, faults, recovery
from tests.valkey_server import ValkeyServer, valkey_server

# Against a real server

X = "life-abcde"
TRIALS = 3
MOST = 5  # trials, with those that it is extended by
LONG_S = 1_000.0  # leases and back-offs end when a rule says so
TRIAL = st.integers(0, MOST - 1)
WORKERS = ("ann", "bob", "cyd")
TOKEN = st.sampled_from(["", "", *WORKERS])  # "": that of the attempt that runs, if any
OFTEN = st.sampled_from([1, 1, 2])  # a call whose answer was lost is made again


class TrialsLife(RuleBasedStateMachine):
    """Every call in any order, made once or twice, with messages of any age, by workers that may long be forgotten."""

    store: ClassVar[Store]

    @initialize(max_attempts=st.integers(1, 3), stops=st.booleans())
    def submit(self, max_attempts: int, stops: bool) -> None:
        self.store.client.flushall()
        self.model = StoreModel((TrialModel(),) * TRIALS, max_attempts)
        self.messages: list[tuple[int, int]] = []  # every message there ever was: number, generation
        self.winners: dict[int, float] = {}
        self.curves: dict[int, dict[int, float]] = {n: {} for n in range(MOST)}
        self.rungs: dict[int, dict[int, float]] = {}
        self.stops = stops
        self.others = 0  # experiments that came and went
        self.values = count(1)
        self.submission = Submission(
            name="life", spec="{}", end=TRIALS, metric="nmse", goal="minimize", resource_class="default",
            max_attempts=max_attempts, retry_on=trial_model.RETRIED,
            early_stopping=EarlyStopping("asha", min_steps=1, reduction=2) if stops else None,
        )  # fmt: skip
        assert self.store.create(X, self.submission)
        assert self.store.reserve(X, 0, TRIALS, [new(n) for n in range(TRIALS)], exhausted=True)

    def trial(self, n: int) -> int:
        """One of the trials that there are."""
        return n % len(self.model.trials)

    def caller(self, n: int, token: str) -> str:
        """Whose call of a trial it is."""
        return token or self.model.trials[n].token or WORKERS[0]

    # From the plan to the queue

    @rule()
    def claim(self) -> None:
        publications = self.store.claim(self.store.experiment(X), workers=1)
        assert {publication.number for publication in publications} == set(self.model.claimable())
        for publication in publications:
            assert publication.params == point(publication.number)
            assert all(publication.generation > generation for _, generation in self.messages)
            self.messages.append((publication.number, publication.generation))
            self.model = self.model.claim(publication.number, publication.generation)

    @rule()
    def another_joins(self) -> None:
        """An experiment of the class, which publishes and goes."""
        self.others += 1
        other = f"other-{self.others}"
        assert self.store.create(other, replace(self.submission, end=1))
        assert self.store.reserve(other, 0, 1, [new(0)], exhausted=True)
        self.store.client.hdel("optml:share:default", "recalled")  # as if the last time was long ago
        if self.store.client.zscore("optml:sharing:default", X) is not None:
            self.model = self.model.recall()
        assert len(self.store.claim(self.store.experiment(other), workers=1)) == 1
        self.store.remove(other)

    @precondition(lambda self: len(self.model.trials) + self.model.planned < MOST)
    @rule()
    def extend(self) -> None:
        accepted, self.model = self.model.extend(1)
        longer = replace(self.submission, end=len(self.model.trials) + self.model.planned)
        assert self.store.extend(self.store.experiment(X), longer) == accepted
        if accepted:
            self.submission = longer

    @precondition(lambda self: self.model.planned)
    @rule()
    def reserve(self) -> None:
        known = len(self.model.trials)
        trials = [new(n) for n in range(known, known + self.model.planned)]
        accepted, self.model = self.model.reserve()
        found = self.store.experiment(X)
        next_ = known + len(trials)
        assert accepted == self.store.reserve(X, known, next_, trials, exhausted=True, extensions=found.extensions)

    @rule(sure=st.sampled_from([False, False, True]), often=OFTEN, resumes=st.booleans())
    def lose_the_store(self, sure: bool, often: int, resumes: bool) -> None:
        """All that is left is the archive, with every result, and no message."""
        if not sure:
            return
        record, trials = self.store.experiment(X), list(self.store.stream(X))
        attempts = {trial.number: self.store.attempts(X, trial.number) for trial in trials}
        ended = [trial for trial in trials if trial.state not in LIVE]
        waiting = [RestoredTrial(t.number, t.params, t.seed, t.attempts) for t in trials if t.state in LIVE]
        self.store.client.flushall()
        self.model = self.model.restore()
        self.messages, self.rungs = [], {}
        self.curves = {n: {} for n in range(MOST)}
        for _ in range(often):  # another process does it, too
            assert self.store.restore(record, self.submission)
            assert self.store.restore_finished(X, ended)
            assert self.store.restore_attempts(X, attempts)
            assert self.store.restore_queued(X, waiting)
        came_back = record if record.is_over else replace(record, state=ExperimentState.PAUSED, finished_at=None)
        log = [trial.number for trial in ended]
        assert [self.store.restored(came_back, log) for _ in range(often)] == [True, False][:often]
        if resumes:
            self.resume()

    @rule()
    def recover(self) -> None:
        found, self.model = self.model.recover()
        assert self.store.recover(self.store.experiment(X), most=100, workers=1, idle=True, grace_s=0) == found

    @rule(costs=st.lists(st.floats(0, 10), min_size=MOST, max_size=MOST))
    def reorder(self, costs: list[float]) -> None:
        placed, self.model = self.model.reorder()
        waiting = [trial.number for trial in self.store.waiting(X)]
        found = self.store.reorder(X, {n: costs[n] for n in waiting})
        assert found == placed

    @rule()
    def drain(self) -> None:
        drained, self.model = self.model.drain()
        assert self.store.drain(X) == drained

    # One attempt

    @precondition(lambda self: self.messages)
    @rule(age=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8, 13]), token=st.sampled_from(WORKERS), often=OFTEN)
    def deliver(self, age: int, token: str, often: int) -> None:
        n, generation = self.messages[-1 - age % len(self.messages)]
        for _ in range(often):
            expected, self.model = self.model.begin(n, generation, token)
            answer = self.store.begin(X, n, generation, digest(point(n)), token, f"worker of {token}", LONG_S)
            if isinstance(answer, Assignment):
                assert expected == "run"
                assert answer == Assignment(self.model.trials[n].attempts, point(n), n)
            else:
                assert answer.why == expected

    @rule(n=TRIAL, token=st.sampled_from(WORKERS), steps=st.integers(0, 2))
    def work(self, n: int, token: str, steps: int) -> None:
        """What is to happen, and seldom does by chance: a trial is published, begins, and reports."""
        n = self.trial(n)
        self.claim()
        ages = [age for age, message in enumerate(reversed(self.messages)) if message[0] == n]
        if ages:
            self.deliver(ages[0], token, 1)
        for step in range(1, steps + 1):
            self.report(n, token, step)

    @rule(n=TRIAL, token=TOKEN)
    def beat(self, n: int, token: str) -> None:
        n = self.trial(n)
        token = self.caller(n, token)
        expected, self.model = self.model.beat(n, token)
        assert self.store.beat(X, n, token, LONG_S) == expected

    @rule(n=TRIAL, token=TOKEN, step=st.integers(0, 2))
    def report(self, n: int, token: str, step: int) -> None:
        n = self.trial(n)
        token = self.caller(n, token)
        expected, value = self.model.report(n, token), float(next(self.values))
        if expected == "ok" and self.stops and step not in self.curves[n] and self.is_outside_top(n, step, value):
            expected, self.model = "stop", self.model.order(n, "stop")[1]
        assert self.store.report(X, n, token, step, value) == expected
        if expected != "abort":
            self.curves[n].setdefault(step, value)

    def is_outside_top(self, n: int, step: int, value: float) -> bool:
        """Whether a trial enters a rung (1, 2, 4 …) where the better half of those that did are better."""
        if step < 1:
            return False
        rung = self.rungs.setdefault(1 << step.bit_length() - 1, {})
        if n in rung:
            return False
        rung[n] = value
        return len(rung) > 1 and sum(other < value for other in rung.values()) >= len(rung) // 2

    @rule(
        n=TRIAL,
        token=TOKEN,
        end=st.sampled_from(
            [("lost", True), ("lost", True), ("error", True), ("released", False), ("cancelled", False)]
        ),
        rests=st.booleans(),
        often=OFTEN,
    )
    def release(self, n: int, token: str, end: tuple[str, bool], rests: bool, often: int) -> None:
        reason, failed = end
        n = self.trial(n)
        token = self.caller(n, token)
        for _ in range(often):
            expected, self.model = self.model.release(n, token, reason, failed=failed, rests=rests)
            delay_s = LONG_S if rests else 0.0
            assert self.store.release(X, n, token, reason, failed=failed, error="e", delay_s=delay_s) == expected

    @rule(
        n=TRIAL, token=TOKEN, state=st.sampled_from(["complete", "complete", "diverged", "stopped_early"]), often=OFTEN
    )
    def finish(self, n: int, token: str, state: str, often: int) -> None:
        n = self.trial(n)
        token = self.caller(n, token)
        for _ in range(often):
            value = float(next(self.values))
            expected, self.model = self.model.finish(n, token, state)
            assert self.store.finish(X, n, token, TrialResult(TrialState(state), {"nmse": value})) == expected
            if expected == "accepted":
                assert n not in self.winners, "two winners"
                self.winners[n] = value

    @rule()
    def expire(self) -> None:
        lost, self.model = self.model.expire()
        assert sorted(self.store.expire()) == [(X, n) for n in lost]

    # Time

    @rule(n=TRIAL)
    def a_lease_ends(self, n: int) -> None:
        n = self.trial(n)
        self.model = self.model.lease_ends(n)
        self.store.client.zadd("optml:leases", {f"{X}|{n}": 0}, xx=True)

    @rule(n=TRIAL)
    def a_back_off_ends(self, n: int) -> None:
        n = self.trial(n)
        self.model = self.model.rest_ends(n)
        self.store.client.zadd(f"optml:x:{X}:due", {n: 0}, xx=True)

    # Control

    @rule()
    def pause(self) -> None:
        self.model = self.model.pause()
        assert self.store.pause(X) == self.model.state

    @rule()
    def resume(self) -> None:
        self.model = self.model.resume()
        assert self.store.resume(X) == self.model.state

    @rule()
    def stop(self) -> None:
        self.model = self.model.stop()
        assert self.store.stop(X, "enough for today") == self.model.state

    @rule(sure=st.sampled_from([False, False, True]))
    def cancel(self, sure: bool) -> None:
        if sure:
            self.model = self.model.cancel()
            assert self.store.cancel(X, "enough") == self.model.state

    @rule(n=TRIAL, order=st.sampled_from([Order.CANCEL, Order.STOP, Order.RELEASE]))
    def order(self, n: int, order: Order) -> None:
        n = self.trial(n)
        expected, self.model = self.model.order(n, order)
        assert self.store.order(X, n, order) == expected

    @rule(n=TRIAL, often=OFTEN)
    def retry(self, n: int, often: int) -> None:
        n = self.trial(n)
        for _ in range(often):
            reopened, self.model = self.model.retry(n)
            if reopened < 0:
                with pytest.raises(InputError, match="ending"):
                    self.store.retry(X, [n])
            else:
                assert self.store.retry(X, [n]) == reopened

    @rule()
    def rest(self) -> None:
        self.model = self.model.rest()
        assert self.store.rest(X, "left alone") == self.model.state

    # What always holds

    @invariant()
    def the_server_holds_what_the_model_says(self) -> None:
        found = self.store.experiment(X)
        held = [(trial.state, trial.attempts) for trial in self.store.stream(X)]
        assert held == [(trial.state, trial.attempts) for trial in self.model.trials]
        assert (found.state, found.ending) == (self.model.state, self.model.ending)
        tally = Counter(trial.state for trial in self.model.trials)
        assert {state: number for state, number in found.counts.items() if number} == tally
        assert found.is_over == self.model.is_over
        assert found.is_over or any(trial.is_live for trial in self.model.trials) or self.model.planned
        assert not found.is_over or found.state == STOPPED or not any(trial.is_live for trial in self.model.trials)
        assert (X in self.store.active()) == (not found.is_over)

    @invariant()
    def nothing_is_in_two_places_or_in_none(self) -> None:
        trials, client, x = self.model.trials, self.store.client, f"optml:x:{X}"

        def those(true: Callable[[TrialModel], bool]) -> set[str]:
            return {str(n) for n, trial in enumerate(trials) if true(trial)}

        def in_state(state: str) -> set[str]:
            return those(lambda t: t.state == state)

        assert set(client.zrange(f"{x}:running", 0, -1)) == in_state(RUNNING)
        assert {lease.partition("|")[2] for lease in client.zrange("optml:leases", 0, -1)} == in_state(RUNNING)
        assert set(client.zrange(f"{x}:published", 0, -1)) == those(lambda t: t.place == PUBLISHED)
        assert set(client.zrange(f"{x}:due", 0, -1)) == those(lambda t: t.place not in ("", FRESH, PUBLISHED))
        assert set(client.zrange(f"{x}:fresh", 0, -1)) >= those(lambda t: t.place == FRESH)
        assert {n for n in map(str, range(MOST)) if client.exists(f"{x}:t:{n}")} == those(lambda t: t.is_live)
        assert set(client.hkeys(f"{x}:done:0")) == those(lambda t: not t.is_live)
        assert set(client.zrange(f"{x}:rank", 0, -1)) == in_state(COMPLETE)
        for state in ("diverged", "failed", "stopped_early", "cancelled"):
            assert set(client.zrange(f"{x}:in:{state}", 0, -1)) == in_state(state)

    @invariant()
    def the_past_stands(self) -> None:
        log = Counter(map(int, self.store.client.lrange(f"optml:x:{X}:log", 0, -1)))
        assert [log[n] for n in range(len(self.model.trials))] == [trial.ended for trial in self.model.trials]
        for n, trial in enumerate(self.model.trials):
            fruitless = self.store.attempts(X, n)
            assert len(fruitless) == trial.fruitless
            assert [each.attempt for each in fruitless] == sorted({each.attempt for each in fruitless})
            assert self.store.curve(X, n) == self.curves[n]
        results = {trial.number: trial.metrics["nmse"] for trial in self.store.stream(X) if trial.metrics}
        assert results == self.winners


def point(n: int) -> dict[str, Any]:
    return {"rate": 0.1 * n}


def new(n: int) -> NewTrial:
    return NewTrial(n, point(n), n)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


def run_against(server: ValkeyServer, examples: int, steps: int) -> None:
    TrialsLife.store = Store.from_url(server.url)
    run_state_machine_as_test(
        TrialsLife, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )
    TrialsLife.store.close()


@pytest.mark.integration
def test_a_real_server_does_what_the_model_says(server: ValkeyServer) -> None:
    run_against(server, examples=40, steps=40)


@pytest.mark.integration
def test_a_life_with_all_that_seldom_happens(server: ValkeyServer) -> None:
    # By chance, these come together once in some thousand steps.
    TrialsLife.store = Store.from_url(server.url)
    life = TrialsLife()
    life.submit(max_attempts=2, stops=True)

    def then(verb: Callable[..., None], *arguments: object) -> None:
        verb(*arguments)
        life.the_server_holds_what_the_model_says()
        life.nothing_is_in_two_places_or_in_none()
        life.the_past_stands()

    then(life.work, 0, "ann", 1)
    then(life.work, 1, "bob", 1)  # worse in the first rung
    assert life.model.told(1) == "stop"
    then(life.release, 1, "bob", ("lost", True), False, 1)
    then(life.work, 1, "cyd", 1)  # judged once: the order is for the next attempt, too
    then(life.finish, 1, "cyd", "stopped_early", 1)
    then(life.another_joins)
    then(life.deliver, 1, "bob", 1)  # a message that was recalled is stale
    assert life.model.trials[2].state == QUEUED
    then(life.work, 2, "bob", 2)
    then(life.release, 0, "ann", ("lost", True), True, 2)
    then(life.extend)
    then(life.lose_the_store, True, 2, True)
    assert [trial.attempts for trial in life.model.trials] == [1, 2, 1]
    then(life.work, 0, "ann", 2)
    then(life.release, 0, "ann", ("lost", True), False, 1)  # its failures count anew
    then(life.work, 0, "ann", 0)
    then(life.finish, 0, "ann", COMPLETE, 1)
    then(life.finish, 2, "", COMPLETE, 1)
    assert life.model.state == RUNNING  # a point of the plan is left
    then(life.reserve)
    then(life.work, 3, "ann", 0)
    then(life.finish, 3, "ann", "diverged", 1)
    then(life.extend)
    then(life.cancel, True)
    then(life.lose_the_store, True, 1, True)
    then(life.reserve)  # nothing comes of it
    assert (life.model.state, life.model.planned) == ("cancelled", 1)
    TrialsLife.store.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_real_server_does_what_the_model_says_for_long(server: ValkeyServer) -> None:
    run_against(server, examples=2_000, steps=80)


# Every world

# What may happen, and at which hand-back a trial fails. A second one doubles the worlds, and adds nothing to them.
WEATHERS = {
    "loss, repetition, death": (Weather(), 2),
    "a store that forgets": (Weather(forgets=True), 1),
    "calls that arrive late": (Weather(has_late_calls=True), 1),
    "people": (Weather(is_steered=True), 1),
}


class Exploration:
    """All worlds that can come of one queued trial, breadth-first: the first path to each is a shortest one."""

    def __init__(self, weather: Weather, max_releases: int) -> None:
        self.weather = weather
        store = StoreModel((TrialModel(),), max_attempts=2, max_releases=max_releases)
        self.start = canonical(World(store, store), weather)
        self.reached_by: dict[World, tuple[World, str]] = {self.start: (self.start, "")}
        self.recovers_from: dict[World, list[World]] = {}  # a world → those that one step of recovery makes it of

    def steps(self) -> Iterator[tuple[World, Step]]:
        """Every step out of every world."""
        waiting = deque([self.start])
        while waiting:
            world = waiting.popleft()
            for step in recovery(world):
                self.recovers_from.setdefault(self._reach(world, step, waiting), []).append(world)
                yield world, step
            for step in faults(world, self.weather):
                self._reach(world, step, waiting)
                yield world, step

    def _reach(self, world: World, step: Step, waiting: deque[World]) -> World:
        after = canonical(step.world, self.weather)
        if after not in self.reached_by:
            self.reached_by[after] = world, step.name
            waiting.append(after)
        return after

    def path(self, world: World) -> str:
        """How a world came about, for people."""
        names = []
        while world != self.start:
            world, name = self.reached_by[world]
            names.append(name)
        return " → ".join(reversed(names)) or "the start"


@pytest.mark.parametrize(("weather", "max_releases"), WEATHERS.values(), ids=WEATHERS)
def test_in_every_world_one_attempt_wins_and_an_end_is_in_reach(weather: Weather, max_releases: int) -> None:
    exploration = Exploration(weather, max_releases)
    for world, step in exploration.steps():
        fault = broken_rule(world, step)
        assert not fault, f"{fault}: {exploration.path(world)} → {step.name}"
    assert len(exploration.reached_by) > 500
    lost = exploration.reached_by.keys() - able_to_end(exploration)
    assert not lost, f"never ends: {exploration.path(min(lost, key=lambda world: len(exploration.path(world))))}"


def broken_rule(world: World, step: Step) -> str:
    """The rule that a step breaks, if it does."""
    before, after = world.store.trials[0], step.world.store.trials[0]
    if step.name == "the store forgets":
        return ""
    if before.state not in (QUEUED, RUNNING, "failed", "cancelled") and after != before:
        return "a result changes"
    if not before.is_live and after.is_live and step.name != "retry":
        return "an end is undone"
    if (step.answer == "accepted") != (before.is_live and after.state == COMPLETE):
        return "a result that nobody gave, or one that was not kept"
    if after.ended - before.ended != (before.is_live and not after.is_live):
        return "an end is counted wrongly"
    return broken_shape(step.world.store)


def broken_shape(store: StoreModel) -> str:
    """What must be true of the store at any moment, and is not."""
    trial = store.trials[0]
    if trial.failures >= store.max_attempts or trial.releases >= store.max_releases:
        return "runs on beyond its attempts"
    if (trial.state == QUEUED) != bool(trial.place) or (trial.state == RUNNING) != bool(trial.token):
        return "queued without a place, or running without a token"
    if trial.state not in LIVE and not store.is_over:
        return "the experiment goes on without a trial"
    return ""


def able_to_end(exploration: Exploration) -> set[World]:
    """The worlds from which the trial ends by steps of recovery alone.

    There are finitely many. If they are all, then whatever happened before, a system in which nothing fails any more
    and that neglects no possible step for ever brings the trial to its end.
    """
    ended = [world for world in exploration.reached_by if world.is_terminal]
    able = set(ended)
    while ended:
        for world in exploration.recovers_from.get(ended.pop(), ()):
            if world not in able:
                able.add(world)
                ended.append(world)
    return able


def test_a_store_that_never_recovered_messages_would_lose_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    # The exploration can fail: without `recover`, a lost message is a lost trial.
    monkeypatch.setattr(StoreModel, "recover", lambda self: (0, self))
    exploration = Exploration(Weather(), 1)
    for _ in exploration.steps():
        pass
    assert exploration.reached_by.keys() - able_to_end(exploration)


def test_a_store_without_fences_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(store: StoreModel, n: int, token: str, state: str = COMPLETE) -> tuple[str, StoreModel]:
        return "accepted", store._conclude(n, state)

    monkeypatch.setattr(StoreModel, "finish", finish)
    assert any(broken_rule(world, step) == "a result changes" for world, step in Exploration(Weather(), 1).steps())
