"""An experiment's course over a real store, its queue played by the test: lossy, repeating and out of order."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from optml_queue import experiments
from optml_queue.budget import Budget
from optml_queue.store import Assignment, Declined, ExperimentState, NewTrial, Publication, Store, Submission
from optml_queue.trial import Params, TrialResult, TrialState, digest

pytestmark = pytest.mark.integration

X = "sim-abcde"


class Line:
    """Numbers 0 to size - 1, every third one a gap."""

    learns = False

    def suggested(self, _number: int) -> None:
        """No point has to be suggested."""

    def __init__(self, size: int) -> None:
        self.end = size

    def take(self, start: int, limit: int, budget: int | None) -> tuple[list[tuple[int, Params, int]], int]:
        most = limit if budget is None else min(limit, budget)
        taken: list[tuple[int, Params, int]] = []
        number = start
        while number < self.end and len(taken) < most:
            if number % 3 != 2:
                taken.append((number, {"rate": number / 7}, 0))
            number += 1
        return taken, number

    def expected(self) -> list[int]:
        return [number for number in range(self.end) if number % 3 != 2]


class Queue:
    """What `advance` publishes, waiting."""

    def __init__(self) -> None:
        self.messages: list[Publication] = []

    def publish(self, publications: Sequence[Publication]) -> None:
        self.messages.extend(publications)


SUBMISSION = Submission(
    name="sim", spec="{}", end=0, metric="nmse", goal="minimize", resource_class="default", max_attempts=100
)


def started(store: Store, monkeypatch: pytest.MonkeyPatch, size: int, **limits: Any) -> Line:
    plan = Line(size)
    monkeypatch.setattr(experiments, "plan_of", lambda _spec: plan)
    assert store.create(X, replace(SUBMISSION, end=size, **limits))
    return plan


def begin(store: Store, message: Publication, token: str, lease_s: float = 30.0) -> object:
    return store.begin(X, message.number, message.generation, digest(message.params), token, "w", lease_s)


def complete(store: Store, message: Publication) -> str:
    token = f"t{message.number}"
    if not isinstance(begin(store, message, token), Assignment):
        return "declined"
    return store.finish(X, message.number, token, TrialResult(TrialState.COMPLETE, {"nmse": 1.0}))


def test_a_small_grid_is_in_the_queue_whole_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = started(store, monkeypatch, 149)
    queue = Queue()
    assert experiments.advance(store, queue.publish, X) == 100
    assert [message.number for message in queue.messages] == plan.expected()
    assert experiments.advance(store, queue.publish, X) == 0
    assert store.experiment(X).exhausted


def test_a_large_grid_is_published_through_the_window(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = started(store, monkeypatch, 1_000)
    queue = Queue()
    experiments.advance(store, queue.publish, X)
    assert len(queue.messages) == 100
    assert store.wanted(1.0) == X
    done = 0
    while queue.messages:
        assert complete(store, queue.messages.pop(0)) == "accepted"
        done += 1
        if store.client.zcard("optml:wanted"):
            assert store.wanted(1.0) == X
            experiments.advance(store, queue.publish, X)
        assert len(queue.messages) <= store.experiment(X).window
    assert done == len(plan.expected())
    assert store.experiment(X).state is ExperimentState.COMPLETE


def test_max_trials_counts_trials_not_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = started(store, monkeypatch, 1_000, max_trials=10)
    queue = Queue()
    experiments.advance(store, queue.publish, X)
    assert [message.number for message in queue.messages] == plan.expected()[:10]
    assert store.experiment(X).exhausted
    assert store.experiment(X).total == 10


def test_max_parallel_is_never_exceeded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started(store, monkeypatch, 300, max_parallel=7)
    queue = Queue()
    for _ in range(50):
        experiments.advance(store, queue.publish, X)
        experiment = store.experiment(X)
        assert experiment.published + experiment.counts[TrialState.RUNNING] <= 7
        complete(store, queue.messages.pop(0))


class Weather:
    """What may befall an experiment that runs five trials at once, beside others that come and recall its messages."""

    MOST = 5
    TRIALS = 60

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.messages: list[Publication] = []
        self.submit(X, self.MOST)
        self.claim()

    def submit(self, name: str, max_parallel: int, priority: int = 0) -> None:
        submission = replace(SUBMISSION, end=self.TRIALS, max_parallel=max_parallel, priority=priority)
        assert self.store.create(name, submission)
        new = [NewTrial(n, {"rate": n / 7}, 0, cost=self.chance.random()) for n in range(self.TRIALS)]
        assert self.store.reserve(name, 0, self.TRIALS, new, exhausted=True)

    def newcomer(self) -> None:
        self.store.client.hdel("optml:share:default", "recalled")  # as though a second had passed
        name = f"new-{len(self.store.ids())}"
        self.submit(name, 3, self.chance.randint(-1, 2))
        self.store.claim(self.store.experiment(name), workers=2)

    def deliver(self) -> None:
        message, token = self.chance.choice(self.messages[-12:]), f"t{self.chance.random()}"
        if not isinstance(begin(self.store, message, token, self.chance.choice([0.0, 30.0])), Assignment):
            return
        if (fate := self.chance.random()) < 0.3:
            self.store.finish(X, message.number, token, TrialResult(TrialState.COMPLETE, {"nmse": 1.0}))
        elif fate < 0.7:
            delay_s = self.chance.choice([0.0, 1_000.0])
            self.store.release(X, message.number, token, "lost", failed=True, delay_s=delay_s)

    def claim(self) -> None:
        self.messages += self.store.claim(self.store.experiment(X), workers=2)

    def recover(self) -> None:
        most = self.chance.randint(1, self.MOST)
        self.store.recover(self.store.experiment(X), most=most, workers=2, idle=True, grace_s=0)

    def expire(self) -> None:
        self.store.expire()

    def back_offs_end(self) -> None:
        for number in self.store.client.zrange(f"optml:x:{X}:due", 0, -1):
            self.store.client.zadd(f"optml:x:{X}:due", {number: 0}, xx=True)

    def pause_or_resume(self) -> None:
        self.chance.choice([self.store.pause, self.store.resume, self.store.resume])(X)


@pytest.mark.parametrize("seed", range(3))
def test_max_parallel_holds_whatever_is_recalled_lost_or_paused(store: Store, seed: int) -> None:
    weather = Weather(store, seed)
    deeds = [weather.deliver] * 20 + [weather.claim] * 8 + [weather.recover] * 6 + [weather.back_offs_end] * 2
    deeds += [weather.expire, weather.newcomer, weather.pause_or_resume]
    fullest = 0
    for _ in range(250):
        deed = weather.chance.choice(deeds)
        deed()
        found = store.experiment(X)
        taken = found.published + found.counts[TrialState.RUNNING]
        assert taken <= weather.MOST, deed.__name__
        fullest = max(fullest, taken)
    assert fullest == weather.MOST


def test_quick_workers_do_not_keep_the_control_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started(store, monkeypatch, 1_000)
    queue = Queue()
    experiments.advance(store, queue.publish, X)
    for _ in range(25):
        complete(store, queue.messages.pop(0))

    def publish_to_quick_workers(publications: Sequence[Publication]) -> None:
        queue.publish(publications)
        for _ in range(5):
            complete(store, queue.messages.pop(0))

    assert experiments.advance(store, publish_to_quick_workers, X) == 25


def test_a_lost_message_is_published_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started(store, monkeypatch, 3)
    monkeypatch.setattr(experiments, "IDLE_S", 0.0)
    queue = Queue()
    experiments.advance(store, queue.publish, X)
    queue.messages.clear()
    store.worker_beat("w", {"class": "default", "idle_s": 10.0}, ttl_s=30)
    time.sleep(0.002)
    assert experiments.advance(store, queue.publish, X) == 2
    assert [message.number for message in queue.messages] == [0, 1]
    # It proves nothing of what was published after it.
    time.sleep(0.002)
    assert experiments.advance(store, queue.publish, X) == 0


def ended_after(store: Store, message: Publication, duration_s: float) -> None:
    """A worker takes a message; its trial takes so long."""
    assert isinstance(begin(store, message, f"t{message.number}"), Assignment)
    key = f"optml:x:{X}:t:{message.number}"
    store.client.hset(key, "b", int(store.client.hget(key, "b")) - int(duration_s * 1000))
    store.finish(X, message.number, f"t{message.number}", TrialResult(TrialState.COMPLETE, {"nmse": 1.0}))


def test_once_durations_tell_the_longest_run_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = started(store, monkeypatch, 240)
    for name in ("w1", "w2", "w3", "w4"):
        store.worker_beat(name, {"class": "default"}, ttl_s=30)
    queue = Queue()
    experiments.advance(store, queue.publish, X)
    assert [message.number for message in queue.messages] == plan.expected()[:100]
    first, stale = queue.messages[:8], queue.messages[8:]
    for message in first:
        ended_after(store, message, 10.0 * (1 + message.number))
    queue.messages.clear()
    experiments.advance(store, queue.publish, X)
    assert [message.number for message in queue.messages] == plan.expected()[:-101:-1]  # of all that are left
    assert store.experiment(X).exhausted
    assert {message.overtakes for message in queue.messages} == {frozenset([X])}
    assert begin(store, stale[0], "late") == Declined("stale message")
    # What is in good order is left alone, however much is observed; nothing is lost, and nothing comes twice.
    while not store.experiment(X).is_over:
        message = queue.messages.pop(0)
        ended_after(store, message, 10.0 * (1 + message.number))
        experiments.advance(store, queue.publish, X)
    assert store.experiment(X).events == {"declined:stale message": 1}
    assert [trial.number for trial in store.stream(X)] == plan.expected()


@pytest.mark.parametrize("limits", [{"target": 0.5}, {"budget": Budget(trials=300)}, {"max_parallel": 1}])
def test_the_order_of_numbers_stays_where_another_may_do_harm_or_no_good(
    store: Store, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    plan = started(store, monkeypatch, 60, **limits)
    for name in ("w1", "w2"):
        store.worker_beat(name, {"class": "default"}, ttl_s=30)
    queue = Queue()
    for _ in range(12):
        experiments.advance(store, queue.publish, X)
        message = queue.messages.pop(0)
        ended_after(store, message, 10.0 * (1 + message.number))
    assert [message.number for message in store.finished(X, 0, 20)] == plan.expected()[:12]


class BadQueue(Queue):
    """Loses, repeats and reorders messages; its workers die, wake as zombies and finish late."""

    def __init__(self, store: Store, seed: int) -> None:
        super().__init__()
        self.store = store
        self.chance = random.Random(seed)
        self.zombies: list[tuple[int, str]] = []
        self.accepted: list[int] = []
        self.tokens = itertools.count()

    def turn(self) -> None:
        message = self.messages.pop(self.chance.randrange(min(5, len(self.messages))))
        fate = self.chance.random()
        if fate < 0.1:
            return  # vanished
        self.deliver(message)
        if fate < 0.2:
            self.deliver(message)
        if self.zombies and self.chance.random() < 0.1:
            self.finish(*self.zombies.pop(0), 2.0)

    def deliver(self, message: Publication) -> None:
        token = f"t{next(self.tokens)}"
        fate = self.chance.random()
        dies = fate < 0.2
        if not isinstance(begin(self.store, message, token, lease_s=0.0 if dies else 30.0), Assignment):
            return
        if dies:
            self.zombies.append((message.number, token))
        elif fate < 0.3:
            assert self.store.release(X, message.number, token, "lost", failed=True) == "queued"
        else:
            self.finish(message.number, token, fate)

    def finish(self, number: int, token: str, value: float) -> None:
        if self.store.finish(X, number, token, TrialResult(TrialState.COMPLETE, {"nmse": value})) == "accepted":
            self.accepted.append(number)


@pytest.mark.parametrize("seed", range(6))
def test_under_a_bad_queue_every_trial_ends_exactly_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    plan = started(store, monkeypatch, 400)
    monkeypatch.setattr(experiments, "IDLE_S", 0.0)
    monkeypatch.setattr(experiments, "GRACE_S", 0.0)
    queue = BadQueue(store, seed)
    for _ in range(20_000):
        if store.experiment(X).is_over:
            break
        if not queue.messages or queue.chance.random() < 0.1:
            idle = {} if queue.messages else {"idle_s": 9.0}
            store.worker_beat("w", {"class": "default", **idle}, ttl_s=30)
            store.expire()
            experiments.advance(store, queue.publish, X)
            experiments.advance(store, queue.publish, X)
        if queue.messages:
            queue.turn()

    experiment = store.experiment(X)
    assert experiment.state is ExperimentState.COMPLETE
    assert sorted(queue.accepted) == plan.expected()
    assert sorted(trial.number for trial in store.finished(X, 0, 10_000)) == plan.expected()
    assert [trial.number for trial in store.stream(X)] == plan.expected()
    assert experiment.counts[TrialState.COMPLETE] == len(plan.expected())
    assert experiment.counts[TrialState.QUEUED] == experiment.counts[TrialState.RUNNING] == 0
    assert store.client.zcard("optml:leases") == 0
