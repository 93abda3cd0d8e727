"""The store's contract, held against every server it may run on: the design's table of calls and states, walked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from optml_queue.driver import Order
from optml_queue.errors import InputError, NotFoundError, UnreachableError
from optml_queue.store import (
    Assignment,
    Declined,
    Experiment,
    ExperimentState,
    NewTrial,
    Publication,
    Ran,
    Store,
    Submission,
)
from optml_queue.store.store import OUTPUT_MAX
from optml_queue.trial import Params, Trial, TrialResult, TrialState, digest
from tests.valkey_server import ValkeyServer, redis_binary, valkey_binary, valkey_server

pytestmark = pytest.mark.integration

X = "grid-abcde"
LEASE_S = 30.0
SUBMISSION = Submission(
    name="grid", spec='{"a":1}', end=4, metric="nmse", goal="minimize", resource_class="default", timeout_s=60.0
)


@pytest.fixture(scope="module", params=[valkey_binary, redis_binary], ids=["valkey", "redis-6.2"])
def server(request: pytest.FixtureRequest) -> Iterator[ValkeyServer]:
    with valkey_server(request.param()) as running:
        yield running


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    store = Store.from_url(server.url)
    store.client.flushall()
    yield store
    store.close()


def params(number: int) -> Params:
    return {"rate": 0.1 * number}


def published(store: Store, trials: int = 1, **changes: object) -> list[int]:
    """An experiment whose trials are all reserved and published; the generation of each."""
    submission = replace(SUBMISSION, end=trials, **changes)  # type: ignore[arg-type]
    assert store.create(X, submission)
    assert store.reserve(X, 0, trials, [NewTrial(n, params(n), n) for n in range(trials)], exhausted=True)
    return [publication.generation for publication in store.claim(store.experiment(X), workers=1)]


def another(store: Store, name: str, trials: int, workers: int = 2, **changes: object) -> list[Publication]:
    """Another experiment, and what it publishes."""
    assert store.create(name, replace(SUBMISSION, end=trials, **changes))  # type: ignore[arg-type]
    assert store.reserve(name, 0, trials, [NewTrial(n, params(n), n) for n in range(trials)], exhausted=True)
    return store.claim(store.experiment(name), workers)


def begin(
    store: Store, generation: int, number: int = 0, *, token: str = "t1", lease_s: float = LEASE_S
) -> Assignment | Declined:
    return store.begin(X, number, generation, digest(params(number)), token, "w1", lease_s)


def result(value: float = 0.5, state: TrialState = TrialState.COMPLETE) -> TrialResult:
    return TrialResult(state, {"nmse": value})


def state(store: Store, number: int = 0) -> TrialState:
    return store.trials(X, [number])[0].state


class TestBegin:
    def test_queued_runs_with_the_stored_parameters(self, store: Store) -> None:
        [generation] = published(store)
        assert begin(store, generation) == Assignment(attempt=1, params=params(0), seed=0)
        assert state(store) is TrialState.RUNNING

    def test_same_token_gets_the_same_answer(self, store: Store) -> None:
        [generation] = published(store)
        assert begin(store, generation) == begin(store, generation)
        assert store.experiment(X).counts[TrialState.RUNNING] == 1

    def test_other_token_is_declined_while_the_lease_lives(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert begin(store, generation, token="t2") == Declined("running elsewhere")

    def test_other_token_takes_over_when_the_lease_has_ended(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation, lease_s=0)
        time.sleep(0.005)
        assert begin(store, generation, token="t2") == Assignment(attempt=2, params=params(0), seed=0)
        [lost] = store.attempts(X, 0)
        assert (lost.attempt, lost.reason, lost.worker) == (1, "lost", "w1")

    def test_take_over_is_declined_when_attempts_are_used_up(self, store: Store) -> None:
        [generation] = published(store, max_attempts=1)
        begin(store, generation, lease_s=0)
        time.sleep(0.005)
        assert begin(store, generation, token="t2") == Declined("out of attempts")
        assert state(store) is TrialState.FAILED

    @pytest.mark.parametrize(
        ("generation_change", "params_digest", "why"),
        [(1, digest(params(0)), "stale message"), (0, "0" * 16, "other parameters than the store has")],
    )
    def test_declined_messages(self, store: Store, generation_change: int, params_digest: str, why: str) -> None:
        [generation] = published(store)
        reply = store.begin(X, 0, generation + generation_change, params_digest, "t1", "w1", LEASE_S)
        assert reply == Declined(why)
        assert state(store) is TrialState.QUEUED

    def test_unknown_trial_and_unknown_experiment_are_declined(self, store: Store) -> None:
        published(store)
        assert begin(store, 1, number=77) == Declined("unknown trial")
        assert store.begin("nobody", 0, 1, "", "t", "w", LEASE_S) == Declined("unknown trial")

    def test_paused_is_declined_and_published_again_after_resume(self, store: Store) -> None:
        [generation] = published(store)
        store.pause(X)
        assert begin(store, generation) == Declined("paused")
        assert store.experiment(X).published == 0
        assert store.claim(store.experiment(X), workers=1) == []
        store.resume(X)
        [again] = store.claim(store.experiment(X), workers=1)
        assert again.number == 0
        assert again.generation > generation
        assert begin(store, generation) == Declined("stale message")
        assert isinstance(begin(store, again.generation), Assignment)

    def test_cancelled_is_declined(self, store: Store) -> None:
        [generation] = published(store)
        store.cancel(X)
        assert begin(store, generation) == Declined("cancelled")

    def test_terminal_is_declined(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.finish(X, 0, "t1", result())
        assert begin(store, generation, token="t2") == Declined("already finished")


class TestBeat:
    def test_extends_the_lease(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation, lease_s=0)
        assert store.beat(X, 0, "t1", LEASE_S) is Order.OK
        assert store.expire() == []

    @pytest.mark.parametrize("ended", [False, True])
    def test_refused_for_any_but_the_running_attempt(self, store: Store, ended: bool) -> None:
        [generation] = published(store)
        if ended:
            begin(store, generation)
            store.finish(X, 0, "t1", result())
        assert store.beat(X, 0, "t1", LEASE_S) is Order.ABORT

    def test_another_token_is_told_to_abort(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.beat(X, 0, "t2", LEASE_S) is Order.ABORT

    @pytest.mark.parametrize("order", [Order.STOP, Order.CANCEL, Order.RELEASE])
    def test_carries_the_order_given_to_the_trial(self, store: Store, order: Order) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.order(X, 0, order) == "running"
        assert store.beat(X, 0, "t1", LEASE_S) is order

    def test_carries_cancel_of_the_experiment(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.cancel(X)
        assert store.beat(X, 0, "t1", LEASE_S) is Order.CANCEL


class TestReport:
    def test_records_a_step_once(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.report(X, 0, "t1", 1, 0.1) is Order.OK
        store.report(X, 0, "t1", 1, 9.9)
        store.report(X, 0, "t1", 2, math.inf)
        assert store.curve(X, 0) == {1: 0.1, 2: math.inf}

    def test_refused_for_any_but_the_running_attempt(self, store: Store) -> None:
        [generation] = published(store)
        assert store.report(X, 0, "t1", 1, 0.1) is Order.ABORT
        begin(store, generation)
        assert store.report(X, 0, "t2", 1, 0.1) is Order.ABORT
        store.finish(X, 0, "t1", result())
        assert store.report(X, 0, "t1", 2, 0.1) is Order.ABORT
        assert store.curve(X, 0) == {}


class TestCheckpoint:
    KEY = f"{X}/checkpoints/0/1-1.npz"

    def test_the_next_attempt_is_told_of_it(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.checkpoint(X, 0, "t1", self.KEY) is Order.OK
        store.release(X, 0, "t1", "released", failed=False)
        [again] = store.claim(store.experiment(X), workers=1)
        assert begin(store, again.generation, token="t2") == Assignment(2, params(0), 0, self.KEY)

    def test_the_last_one_stands(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        for key in ("first", "second", "second"):
            store.checkpoint(X, 0, "t1", key)
        assert begin(store, generation) == Assignment(1, params(0), 0, "second")

    def test_survives_an_attempt_that_is_lost(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation, lease_s=0)
        store.checkpoint(X, 0, "t1", self.KEY)
        time.sleep(0.005)
        assert begin(store, generation, token="t2") == Assignment(2, params(0), 0, self.KEY)

    def test_from_any_but_the_running_attempt_it_moves_nothing(self, store: Store) -> None:
        [generation] = published(store)
        assert store.checkpoint(X, 0, "t1", "early") is Order.ABORT
        begin(store, generation)
        assert store.checkpoint(X, 0, "t2", "strange") is Order.ABORT
        assert begin(store, generation) == Assignment(1, params(0), 0, "")
        store.finish(X, 0, "t1", result())
        assert store.checkpoint(X, 0, "t1", "late") is Order.ABORT

    def test_a_retry_goes_on_from_it(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.checkpoint(X, 0, "t1", self.KEY)
        assert store.release(X, 0, "t1", "error", failed=True) == "failed"
        for attempt in (2, 3):  # one that fails before it keeps another leaves it as it was
            assert store.retry(X, [0]) == 1
            [again] = store.claim(store.experiment(X), workers=1)
            assert begin(store, again.generation, token=f"t{attempt}") == Assignment(attempt, params(0), 0, self.KEY)
            assert store.release(X, 0, f"t{attempt}", "error", failed=True) == "failed"

    def test_carries_orders(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.order(X, 0, Order.STOP)
        assert store.checkpoint(X, 0, "t1", self.KEY) is Order.STOP
        store.cancel(X)
        assert store.checkpoint(X, 0, "t1", self.KEY) is Order.CANCEL

    def test_hand_backs_count_anew_after_it(self, store: Store) -> None:
        [generation] = published(store)
        for turn in range(25):
            begin(store, generation, token=f"t{turn}")
            if turn == 10:
                store.checkpoint(X, 0, f"t{turn}", self.KEY)
            assert store.release(X, 0, f"t{turn}", "released", failed=False) == "queued"
            [publication] = store.claim(store.experiment(X), workers=1)
            generation = publication.generation


class TestRelease:
    def test_without_failure_the_trial_is_due_again(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.release(X, 0, "t1", "released", failed=False) == "queued"
        [again] = store.claim(store.experiment(X), workers=1)
        reply = begin(store, again.generation, token="t2")
        assert isinstance(reply, Assignment)
        assert reply.attempt == 2

    def test_waits_for_its_back_off(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.release(X, 0, "t1", "lost", failed=True, delay_s=60)
        assert store.claim(store.experiment(X), workers=1) == []
        assert begin(store, generation, token="t2") == Declined("waits before its next attempt")

    def test_fails_at_max_attempts_failures(self, store: Store) -> None:
        [generation] = published(store, max_attempts=2)
        begin(store, generation)
        assert store.release(X, 0, "t1", "lost", failed=True) == "queued"
        [again] = store.claim(store.experiment(X), workers=1)
        begin(store, again.generation, token="t2")
        said = "said\n" * 5000
        state = store.release(X, 0, "t2", "lost", failed=True, error="gone", traceback="deep", output=said)
        assert state == "failed"
        [trial] = store.trials(X, [0])
        assert (trial.state, trial.reason, trial.error, trial.attempts) == (TrialState.FAILED, "lost", "gone", 2)
        assert [a.attempt for a in store.attempts(X, 0)] == [1, 2]
        assert store.attempts(X, 0)[1].traceback == "deep"
        assert store.attempts(X, 0)[1].output == said[-OUTPUT_MAX:]

    def test_a_reason_that_is_not_retried_fails_at_once(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.release(X, 0, "t1", "error", failed=True) == "failed"

    def test_twenty_releases_are_enough(self, store: Store) -> None:
        [generation] = published(store)
        for turn in range(20):
            begin(store, generation, token=f"t{turn}")
            outcome = store.release(X, 0, f"t{turn}", "released", failed=False)
            if turn < 19:
                assert outcome == "queued"
                [publication] = store.claim(store.experiment(X), workers=1)
                generation = publication.generation
        assert outcome == "failed"

    def test_refused_for_any_but_the_running_attempt(self, store: Store) -> None:
        [generation] = published(store)
        assert store.release(X, 0, "t1", "lost", failed=True) == "refused"
        begin(store, generation)
        assert store.release(X, 0, "t2", "lost", failed=True) == "refused"
        store.finish(X, 0, "t1", result())
        assert store.release(X, 0, "t1", "lost", failed=True) == "refused"

    def test_of_a_cancelled_experiment_cancels_the_trial(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.cancel(X)
        assert store.release(X, 0, "t1", "cancelled", failed=False) == "cancelled"
        assert store.experiment(X).state is ExperimentState.CANCELLED


class TestFinish:
    def test_accepted_from_the_running_attempt(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.finish(X, 0, "t1", result(0.1 + 0.2)) == "accepted"
        [trial] = store.trials(X, [0])
        assert trial.state is TrialState.COMPLETE
        assert trial.metrics == {"nmse": 0.1 + 0.2}
        assert trial.params == params(0)
        assert trial.wait_s is not None
        assert trial.run_s is not None

    def test_again_is_a_duplicate_and_changes_nothing(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.finish(X, 0, "t1", result(0.1))
        before = store.experiment(X), store.trials(X, [0])
        assert store.finish(X, 0, "t1", result(0.9)) == "duplicate"
        assert store.finish(X, 0, "t9", result(0.9)) == "duplicate"
        assert store.experiment(X).events == {"duplicate results": 2}
        assert (replace(store.experiment(X), events={}), store.trials(X, [0])) == before

    def test_refused_from_another_token_while_one_runs(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        assert store.finish(X, 0, "t2", result()) == "refused"
        assert state(store) is TrialState.RUNNING

    def test_accepted_late_when_no_attempt_lives(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation, lease_s=0)
        time.sleep(0.005)
        assert store.expire() == [(X, 0)]
        assert store.finish(X, 0, "t1", result()) == "accepted"
        assert store.claim(store.experiment(X), workers=1) == []

    def test_refused_for_a_trial_that_never_was(self, store: Store) -> None:
        published(store)
        assert store.finish(X, 77, "t1", result()) == "refused"

    def test_metrics_that_are_not_finite_keep_their_value_and_get_no_rank(self, store: Store) -> None:
        generations = published(store, 2)
        begin(store, generations[0])
        store.finish(X, 0, "t1", result(math.nan, TrialState.DIVERGED))
        begin(store, generations[1], number=1)
        store.finish(X, 1, "t1", result(-math.inf))
        assert math.isnan(store.trials(X, [0])[0].metrics["nmse"])
        assert store.trials(X, [1])[0].metrics == {"nmse": -math.inf}
        assert store.best(X) == []


class TestExpire:
    def test_a_lease_that_ended_makes_the_attempt_lost(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation, lease_s=0)
        time.sleep(0.005)
        assert store.expire() == [(X, 0)]
        assert state(store) is TrialState.QUEUED
        assert store.expire() == []

    def test_counts_towards_max_attempts(self, store: Store) -> None:
        [generation] = published(store, max_attempts=1)
        begin(store, generation, lease_s=0)
        time.sleep(0.005)
        store.expire()
        assert state(store) is TrialState.FAILED

    def test_leaves_living_leases_and_other_states_alone(self, store: Store) -> None:
        generations = published(store, 3)
        begin(store, generations[0])
        begin(store, generations[1], number=1, token="t2", lease_s=0)
        store.finish(X, 1, "t2", result())
        assert store.expire() == []
        assert [trial.state for trial in store.stream(X)] == ["running", "complete", "queued"]


class TestReserve:
    def test_compare_and_set_on_the_next_number(self, store: Store) -> None:
        store.create(X, SUBMISSION)
        assert store.reserve(X, 0, 2, [NewTrial(0, params(0), 0), NewTrial(1, params(1), 0)], exhausted=False)
        assert not store.reserve(X, 0, 2, [NewTrial(0, params(0), 0)], exhausted=False)
        assert store.reserve(X, 2, 4, [NewTrial(3, params(3), 0)], exhausted=True)
        assert [trial.number for trial in store.stream(X)] == [0, 1, 3]
        experiment = store.experiment(X)
        assert (experiment.created, experiment.next, experiment.exhausted, experiment.total) == (3, 4, True, 3)

    def test_a_plan_without_any_trial_ends_the_experiment(self, store: Store) -> None:
        store.create(X, SUBMISSION)
        store.reserve(X, 0, 4, [], exhausted=True)
        experiment = store.experiment(X)
        assert (experiment.state, experiment.reason) == (ExperimentState.FAILED, "no trial completed")


class TestClaim:
    def test_keeps_the_order_of_numbers_and_grows_the_generation(self, store: Store) -> None:
        store.create(X, SUBMISSION)
        store.reserve(X, 0, 12, [NewTrial(n, params(n), 0) for n in range(12)], exhausted=True)
        publications = store.claim(store.experiment(X), workers=1)
        assert [p.number for p in publications] == list(range(12))
        assert len({p.generation for p in publications}) == 12
        assert publications[3].params == params(3)
        assert publications[3].timeout_s == 60.0

    def test_never_more_published_and_running_than_max_parallel(self, store: Store) -> None:
        generations = published(store, 5, max_parallel=2)
        assert len(generations) == 2
        begin(store, generations[0])
        assert store.claim(store.experiment(X), workers=1) == []
        store.finish(X, 0, "t1", result())
        assert [p.number for p in store.claim(store.experiment(X), workers=1)] == [2]

    def test_the_window_bounds_what_waits(self, store: Store) -> None:
        assert len(published(store, 150)) == 100
        assert store.claim(store.experiment(X), workers=1) == []
        assert len(store.claim(store.experiment(X), workers=70)) == 40


def short(store: Store, trials: int = 160, **changes: object) -> list[Publication]:
    """An experiment of `trials` that are short, as its first 40 have shown; what is published next."""
    submission = replace(SUBMISSION, end=trials, **{"batch": "auto", **changes})  # type: ignore[arg-type]
    store.create(X, submission)
    store.reserve(X, 0, trials, [NewTrial(n, params(n), n) for n in range(trials)], exhausted=True)
    first = store.claim(store.experiment(X), workers=1)
    assert all(not each.more for each in first)  # nobody knows yet
    for each in first[:40]:
        assert isinstance(begin(store, each.generation, each.number), Assignment)
        store.finish(X, each.number, "t1", result())
    store.client.hset(f"optml:x:{X}", "worker_ms", 40)  # a millisecond each
    return store.claim(store.experiment(X), workers=1)


def trials_of(publication: Publication) -> tuple[tuple[int, int], ...]:
    return ((publication.number, publication.generation), *publication.more)


class TestBatch:
    """Short trials that share a message."""

    def test_trials_measured_to_be_short_share_messages(self, store: Store) -> None:
        publications = short(store)
        assert [[n for n, _ in trials_of(each)] for each in publications] == [
            list(range(100, 150)),
            list(range(150, 160)),
        ]
        generations = [g for each in publications for _, g in trials_of(each)]
        assert generations == sorted(set(generations))

    def test_a_message_holds_no_more_than_a_part_for_every_worker(self, store: Store) -> None:
        short(store, 1_000)
        store.retry(X, [])
        assert {each.trials for each in store.claim(store.experiment(X), workers=40)} <= set(range(1, 14))

    @pytest.mark.parametrize("changes", [{"batch": "off"}, {"max_parallel": 100}])
    def test_otherwise_each_has_its_own(self, store: Store, changes: dict[str, Any]) -> None:
        assert {each.trials for each in short(store, **changes)} == {1}

    def test_trials_that_take_their_time_do_not(self, store: Store) -> None:
        short(store)
        store.client.hset(f"optml:x:{X}", "run_ms", "11")
        store.client.delete(f"optml:x:{X}:published")
        for number in range(100, 160):
            store.client.zadd(f"optml:x:{X}:due", {str(number): 0})
        assert {each.trials for each in store.claim(store.experiment(X), workers=1)} == {1}

    def test_a_turn_takes_results_and_begins_the_next(self, store: Store) -> None:
        trials = trials_of(short(store)[0])
        answers, begun = store.turn(X, "t2", "w1", LEASE_S, [], trials[:3])
        assert (answers, list(begun)) == ([], [100, 101, 102])
        assert begun[101] == Assignment(attempt=1, params=params(101), seed=101)
        assert store.experiment(X).counts[TrialState.RUNNING] == 3
        ran = [
            Ran(100, result(0.25), 0.5, 0.4),
            Ran(101, result(math.inf, TrialState.DIVERGED), 0.4, 0.1),
            Ran(102, replace(result(), reason="infeasible: nmse < 0"), 0.1, 0.0),
        ]
        answers, begun = store.turn(X, "t2", "w1", LEASE_S, ran, trials[3:5])
        assert (answers, list(begun)) == (["accepted"] * 3, [103, 104])
        first, second, third = store.trials(X, [100, 101, 102])
        assert (first.state, first.metrics, first.attempts, first.worker) == (
            TrialState.COMPLETE,
            {"nmse": 0.25},
            1,
            "w1",
        )
        assert (second.state, second.metrics) == (TrialState.DIVERGED, {"nmse": math.inf})
        assert not third.is_feasible
        assert [round(each.run_s or 0.0, 2) for each in (first, second, third)] == [0.1, 0.3, 0.1]
        found = store.experiment(X)
        assert (found.counts[TrialState.RUNNING], found.finished) == (2, 43)
        assert store.numbers(X, TrialState.DIVERGED) == [101]
        assert store.best(X, 1)[0].number == 100
        assert [each.number for each in store.finished(X, 40, 43)] == [100, 101, 102]
        assert 102 not in [each.number for each in store.best(X, 100)]

    def test_the_same_turn_again_gets_the_same_trials(self, store: Store) -> None:
        trials = trials_of(short(store)[0])
        _, begun = store.turn(X, "t2", "w1", LEASE_S, [], trials[:2])
        assert store.turn(X, "t2", "w1", LEASE_S, [], trials[:2]) == ([], begun)
        ran = [Ran(100, result(), 0.1, 0.0)]
        once = store.turn(X, "t2", "w1", LEASE_S, ran, trials[2:3])
        assert once[0] == ["accepted"]
        assert store.turn(X, "t2", "w1", LEASE_S, ran, trials[2:3]) == (["duplicate"], once[1])
        assert store.experiment(X).counts[TrialState.RUNNING] == 2

    def test_nothing_begins_that_is_stale_ended_or_another_s(self, store: Store) -> None:
        (n0, g0), (n1, g1), (n2, g2), *_ = trials_of(short(store)[0])
        begin(store, g0, n0, token="another")
        begin(store, g1, n1, token="another")
        store.finish(X, n1, "another", result())
        assert store.turn(X, "t2", "w1", LEASE_S, [], ((n0, g0), (n1, g1), (n2, g2 + 1))) == ([], {})
        assert store.turn(X, "t2", "w1", LEASE_S, [Ran(n0, result(), 0.1, 0.0)], ())[0] == ["refused"]

    def test_what_a_paused_experiment_declines_is_published_again(self, store: Store) -> None:
        trials = trials_of(short(store)[0])
        store.pause(X)
        assert store.turn(X, "t2", "w1", LEASE_S, [], trials[:2]) == ([], {})
        store.resume(X)
        again = [n for each in store.claim(store.experiment(X), workers=1) for n, _ in trials_of(each)]
        assert set(again) >= {100, 101}

    def test_a_target_ends_the_experiment_in_the_midst_of_a_turn(self, store: Store) -> None:
        trials = trials_of(short(store, target=0.1)[0])
        store.turn(X, "t2", "w1", LEASE_S, [], trials[:3])
        ran = [Ran(number, result(value), 0.2, 0.1) for number, value in ((100, 0.3), (101, 0.05), (102, 0.01))]
        answers, begun = store.turn(X, "t2", "w1", LEASE_S, ran, trials[3:5])
        assert (answers, begun) == (["accepted"] * 3, {})
        assert store.experiment(X).reason == "target reached: trial 101 has nmse 0.05"

    def test_an_interruption_is_no_failure_and_the_rest_goes_alone(self, store: Store) -> None:
        trials = trials_of(short(store, max_attempts=1)[0])
        store.turn(X, "t2", "w1", LEASE_S, [], trials[:3])
        store.turn(X, "t2", "w1", LEASE_S, [Ran(100, result(), 0.001, 0.0)], ())
        assert store.interrupt(X, "t2", "crashed", trials[:5], "crashed (SIGSEGV)") == "queued"
        assert state(store, 100) is TrialState.COMPLETE
        for number in (101, 102):
            (attempt,) = store.attempts(X, number)
            assert (attempt.reason, attempt.error) == ("crashed", "crashed (SIGSEGV)")
        assert store.attempts(X, 103) == []
        again = {n: each.trials for each in store.claim(store.experiment(X), workers=1) for n, _ in trials_of(each)}
        assert {101: 1, 102: 1, 103: 2, 104: 2}.items() <= again.items()
        assert store.interrupt(X, "t2", "crashed", trials[:5]) == "refused"

    def test_what_had_begun_goes_alone_behind_others_that_share_a_message(self, store: Store) -> None:
        trials = trials_of(short(store)[0])
        store.turn(X, "t2", "w1", LEASE_S, [], trials[2:4])
        store.interrupt(X, "t2", "crashed", trials[:4])
        again = [[n for n, _ in trials_of(each)] for each in store.claim(store.experiment(X), workers=1)]
        assert again == [[100, 101], [102], [103]]

    def test_a_lost_worker_fails_none_of_those_that_began_together(self, store: Store) -> None:
        trials = trials_of(short(store, max_attempts=1)[0])
        store.turn(X, "t2", "w1", 0.0, [], trials[:2])
        time.sleep(0.005)
        assert {number for _, number in store.expire()} == {100, 101}
        assert [state(store, number) for number in (100, 101)] == [TrialState.QUEUED] * 2
        (alone, *_) = (each for each in store.claim(store.experiment(X), workers=1) if each.number == 100)
        assert isinstance(begin(store, alone.generation, 100, token="t3", lease_s=0), Assignment)
        time.sleep(0.005)
        store.expire()
        assert state(store, 100) is TrialState.FAILED

    def test_one_beat_holds_them_all(self, store: Store) -> None:
        trials = trials_of(short(store)[0])
        store.turn(X, "t2", "w1", 0.2, [], trials[:2])
        assert store.beat_all(X, [n for n, _ in trials], "t2", LEASE_S) is Order.OK
        time.sleep(0.25)
        assert store.expire() == []
        store.cancel(X)
        assert store.beat_all(X, [n for n, _ in trials], "t2", LEASE_S) is Order.CANCEL
        assert store.beat_all(X, [n for n, _ in trials], "nobody", LEASE_S) is Order.ABORT


class TestSharing:
    """Several experiments of one class."""

    def test_a_newcomer_takes_its_place_before_what_waits(self, store: Store) -> None:
        generations = published(store, 150)
        assert isinstance(begin(store, generations[0]), Assignment)
        small = another(store, "small", 30)
        assert [p.number for p in small] == list(range(20))
        assert {p.overtakes for p in small} == {frozenset([X])}
        assert store.experiment(X).published == 0
        assert begin(store, generations[1], number=1, token="t2") == Declined("stale message")
        again = store.claim(store.experiment(X), workers=2)
        assert [p.number for p in again] == list(range(1, 11))
        assert min(p.generation for p in again) > max(p.generation for p in small)

    def test_within_a_second_only_those_are_recalled_again_that_filled_the_window_alone(self, store: Store) -> None:
        published(store, 150)
        another(store, "first", 20)
        store.claim(store.experiment(X), workers=2)
        another(store, "second", 20)
        assert store.experiment(X).published == 10
        assert store.experiment("first").published == 20
        for name in ("first", "second"):
            store.cancel(name)
        store.client.hdel("optml:share:default", "level")  # as though it had to be measured anew
        store.claim(store.experiment(X), workers=2)
        assert store.experiment(X).published == 100
        assert {p.overtakes for p in another(store, "third", 20)} == {frozenset([X])}
        assert store.experiment(X).published == 0

    def test_no_experiment_recalls_from_itself_or_by_coming_again(self, store: Store) -> None:
        generations = published(store, 150)
        another(store, "small", 20)
        for _ in range(3):
            store.claim(store.experiment(X), workers=2)
            store.claim(store.experiment("small"), workers=2)
        assert (store.experiment(X).published, store.experiment("small").published) == (10, 20)
        assert begin(store, generations[9], number=9) == Declined("stale message")

    def test_shares_grow_with_two_to_the_power_of_the_priority(self, store: Store) -> None:
        published(store, 1_000)
        assert len(another(store, "urgent", 1_000, workers=40, priority=2)) == 80
        assert store.claim(store.experiment("urgent"), workers=40) == []
        assert (store.experiment("urgent").window, len(store.claim(store.experiment(X), workers=40))) == (64, 16)

    def test_a_newcomer_may_fill_the_window_unless_it_is_outweighed(self, store: Store) -> None:
        published(store, 1_000)
        assert len(another(store, "equal", 1_000, workers=40)) == 80
        assert len(another(store, "urgent", 1_000, workers=40, priority=3)) == 80
        assert len(another(store, "patient", 1_000, workers=40, priority=1)) == 20
        assert store.claim(store.experiment("equal"), workers=40) == []  # its share has long been used

    def test_what_one_has_no_use_for_the_others_have(self, store: Store) -> None:
        published(store, 1_000)
        assert len(another(store, "narrow", 1_000, workers=40, max_parallel=3)) == 3
        assert len(store.claim(store.experiment(X), workers=40)) == 77

    def test_everyone_has_one_trial_in_the_queue(self, store: Store) -> None:
        published(store, 1_000)
        urgent = another(store, "urgent", 1_000, workers=2, priority=100)
        assert len(urgent) == 20
        assert len(store.claim(store.experiment(X), workers=2)) == 1

    @pytest.mark.parametrize("leaving", ["cancel", "pause", "stop"])
    def test_who_leaves_has_no_share(self, store: Store, leaving: str) -> None:
        published(store, 1_000)
        another(store, "small", 20)
        getattr(store, leaving)("small")
        store.client.hset("optml:share:default", "until", 0)
        assert len(store.claim(store.experiment(X), workers=2)) == 100

    def test_classes_do_not_share(self, store: Store) -> None:
        published(store, 150)
        assert len(another(store, "other", 150, resource_class="gpu")) == 100
        assert store.experiment(X).published == 100

    def test_a_message_taken_for_lost_does_not_exceed_max_parallel(self, store: Store) -> None:
        generations = published(store, 5, max_parallel=1)
        store.recover(store.experiment(X), most=1, workers=1, idle=True, grace_s=0)
        store.client.zadd(f"optml:x:{X}:due", {"0": 0})
        store.client.zadd(f"optml:x:{X}:due", {"1": -1})
        [other] = store.claim(store.experiment(X), workers=1)
        assert isinstance(begin(store, other.generation, number=other.number), Assignment)
        assert begin(store, generations[0], token="t2") == Declined("waits for others to end")


class TestCost:
    def test_the_most_expensive_come_first_then_those_without_a_cost_by_number(self, store: Store) -> None:
        store.create(X, replace(SUBMISSION, end=14))
        costs = [1.0, 7.5, 3.0] + [None] * 11
        trials = [NewTrial(n, params(n), 0, cost) for n, cost in enumerate(costs)]
        store.reserve(X, 0, 14, trials, exhausted=True)
        assert [p.number for p in store.claim(store.experiment(X), workers=1)] == [1, 2, 0, *range(3, 14)]


class TestRecover:
    def test_an_overtaken_message_is_published_again(self, store: Store) -> None:
        generations = published(store, 100)
        begin(store, generations[90], number=90)
        assert store.recover(store.experiment(X), most=10, workers=1, idle=False, grace_s=0) == 10
        again = store.claim(store.experiment(X), workers=1)
        assert [p.number for p in again] == list(range(10))
        assert begin(store, generations[0]) == Declined("stale message")

    def test_young_messages_and_close_ones_are_left_alone(self, store: Store) -> None:
        generations = published(store, 100)
        begin(store, generations[20], number=20)
        assert store.recover(store.experiment(X), most=10, workers=1, idle=False, grace_s=0) == 0
        begin(store, generations[90], number=90, token="t2")
        assert store.recover(store.experiment(X), most=10, workers=1, idle=False, grace_s=60) == 0

    def test_an_idle_worker_proves_the_queue_empty(self, store: Store) -> None:
        published(store, 3)
        assert store.recover(store.experiment(X), most=2, workers=1, idle=True, grace_s=0) == 2

    def test_costs_the_same_however_many_wait(self, store: Store) -> None:
        def commands() -> int:
            found = store.client.info("commandstats")
            return sum(int(stats["calls"]) for name, stats in found.items() if "info" not in name)

        cost = []
        for trials in (50, 5_000):
            store.client.flushall()
            assert store.create(X, replace(SUBMISSION, end=trials))
            store.reserve(X, 0, trials, [NewTrial(n, params(n), 0) for n in range(trials)], exhausted=True)
            for _ in range(5):
                store.claim(store.experiment(X), workers=10_000)
            assert store.experiment(X).published == trials
            experiment, before = store.experiment(X), commands()
            store.recover(experiment, most=4, workers=2, idle=False, grace_s=0)
            cost.append(commands() - before)
        assert cost[0] == cost[1] < 20


class TestRest:
    def test_what_a_dead_server_left_waits_for_resume(self, store: Store) -> None:
        generations = published(store, 3)
        begin(store, generations[0])
        assert store.rest(X, "left alone") is ExperimentState.PAUSED
        experiment = store.experiment(X)
        assert (experiment.reason, experiment.published) == ("left alone", 0)
        assert experiment.counts[TrialState.QUEUED] == 3
        assert [attempt.reason for attempt in store.attempts(X, 0)] == ["lost"]
        store.resume(X)
        assert sorted(p.number for p in store.claim(store.experiment(X), workers=1)) == [0, 1, 2]

    def test_one_that_was_ending_goes_on_ending(self, store: Store) -> None:
        published(store, 3)
        store.cancel(X)
        assert store.rest(X, "left alone") is ExperimentState.RUNNING
        assert store.drain(X) == 3
        assert store.experiment(X).state is ExperimentState.CANCELLED


class TestEndings:
    def run(self, store: Store, trial_state: TrialState, generations: list[int], numbers: range) -> None:
        for number in numbers:
            begin(store, generations[number], number=number, token=f"t{number}")
            if trial_state is TrialState.FAILED:
                store.release(X, number, f"t{number}", "error", failed=True, error="boom")
            else:
                store.finish(X, number, f"t{number}", result(state=trial_state))

    def test_complete_when_all_trials_ended(self, store: Store) -> None:
        self.run(store, TrialState.COMPLETE, published(store, 3), range(3))
        experiment = store.experiment(X)
        assert experiment.state is ExperimentState.COMPLETE
        assert experiment.finished_at is not None
        assert store.active() == []

    def test_failed_when_nothing_completed(self, store: Store) -> None:
        self.run(store, TrialState.DIVERGED, published(store, 2), range(2))
        assert store.experiment(X).state is ExperimentState.FAILED

    def test_five_failures_without_any_result_end_it(self, store: Store) -> None:
        generations = published(store, 50)
        self.run(store, TrialState.FAILED, generations, range(5))
        assert begin(store, generations[9], number=9) == Declined("failed")
        while store.drain(X):
            pass
        experiment = store.experiment(X)
        assert experiment.state is ExperimentState.FAILED
        assert "first 5 trials" in experiment.reason
        assert experiment.counts[TrialState.FAILED] == 5
        assert experiment.counts[TrialState.CANCELLED] == 45

    def test_max_failed(self, store: Store) -> None:
        generations = published(store, 20, max_failed=2)
        self.run(store, TrialState.COMPLETE, generations, range(4))
        self.run(store, TrialState.FAILED, generations, range(4, 6))
        assert store.experiment(X).ending == ""
        self.run(store, TrialState.FAILED, generations, range(6, 7))
        assert store.experiment(X).ending == "failed"

    def test_cancel_waits_for_the_running_and_drains_the_queued(self, store: Store) -> None:
        generations = published(store, 30)
        begin(store, generations[0])
        store.cancel(X, "not needed")
        assert store.drain(X) == 29
        assert store.experiment(X).state is ExperimentState.RUNNING
        store.finish(X, 0, "t1", result())
        experiment = store.experiment(X)
        assert (experiment.state, experiment.reason) == (ExperimentState.CANCELLED, "not needed")
        assert experiment.counts[TrialState.COMPLETE] == 1

    def test_retry_reopens_failed_and_cancelled_only(self, store: Store) -> None:
        generations = published(store, 4)
        self.run(store, TrialState.COMPLETE, generations, range(1))
        self.run(store, TrialState.FAILED, generations, range(1, 2))
        store.cancel(X)
        store.drain(X)
        assert store.retry(X, range(4)) == 3
        assert store.experiment(X).state is ExperimentState.RUNNING
        assert [trial.state for trial in store.stream(X)] == ["complete", "queued", "queued", "queued"]
        again = store.claim(store.experiment(X), workers=1)
        assert [p.params for p in again] == [params(1), params(2), params(3)]
        reply = begin(store, again[0].generation, number=1, token="t9")
        assert isinstance(reply, Assignment)
        assert reply.attempt == 2
        assert store.finish(X, 1, "t9", result()) == "accepted"


class TestStop:
    def test_what_runs_finishes_and_the_rest_waits(self, store: Store) -> None:
        generations = published(store, 4)
        begin(store, generations[0])
        assert store.stop(X, "enough") is ExperimentState.RUNNING
        assert store.beat(X, 0, "t1", LEASE_S) is store.report(X, 0, "t1", 1, 0.5) is Order.OK
        assert begin(store, generations[1], number=1, token="t2") == Declined("stopped")
        assert store.claim(store.experiment(X), workers=1) == []
        assert store.drain(X) == 0
        store.finish(X, 0, "t1", result())
        experiment = store.experiment(X)
        assert (experiment.state, experiment.reason) == (ExperimentState.STOPPED, "enough")
        assert experiment.counts[TrialState.QUEUED] == 3
        assert experiment.total == 4
        assert store.active() == []

    def test_at_once_when_nothing_runs(self, store: Store) -> None:
        published(store, 2)
        assert store.stop(X, "enough") is ExperimentState.STOPPED

    def test_an_attempt_that_ends_without_result_waits_with_the_rest(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.stop(X)
        assert store.release(X, 0, "t1", "lost", failed=True) == "queued"
        assert store.experiment(X).state is ExperimentState.STOPPED

    def test_resume_goes_on_while_it_stops_and_afterwards(self, store: Store) -> None:
        generations = published(store, 3)
        begin(store, generations[0])
        store.stop(X)
        assert store.resume(X) is ExperimentState.RUNNING
        assert isinstance(begin(store, generations[1], number=1, token="t2"), Assignment)
        store.stop(X)
        for number, token in ((0, "t1"), (1, "t2")):
            store.finish(X, number, token, result())
        assert store.experiment(X).state is ExperimentState.STOPPED
        assert store.resume(X) is ExperimentState.RUNNING
        assert (store.experiment(X).reason, store.experiment(X).finished_at) == ("", None)
        assert isinstance(begin(store, generations[2], number=2, token="t3"), Assignment)
        store.finish(X, 2, "t3", result())
        assert store.experiment(X).state is ExperimentState.COMPLETE

    def test_is_complete_when_nothing_was_left(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.stop(X, "enough")
        store.finish(X, 0, "t1", result())
        experiment = store.experiment(X)
        assert (experiment.state, experiment.reason, experiment.ending) == (ExperimentState.COMPLETE, "", "")

    def test_cancel_ends_what_a_stop_would_let_finish(self, store: Store) -> None:
        generations = published(store, 2)
        begin(store, generations[0])
        store.stop(X)
        store.cancel(X, "after all")
        assert store.beat(X, 0, "t1", LEASE_S) is Order.CANCEL
        assert store.drain(X) == 1


class TestOrders:
    def test_one_to_stop_outlives_a_lost_attempt(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.order(X, 0, Order.STOP)
        store.release(X, 0, "t1", "lost", failed=True)
        [again] = store.claim(store.experiment(X), workers=1)
        begin(store, again.generation, token="t2")
        assert store.beat(X, 0, "t2", LEASE_S) is Order.STOP

    def test_one_to_release_is_done_with_the_attempt(self, store: Store) -> None:
        [generation] = published(store)
        begin(store, generation)
        store.order(X, 0, Order.RELEASE)
        store.release(X, 0, "t1", "released", failed=False)
        [again] = store.claim(store.experiment(X), workers=1)
        begin(store, again.generation, token="t2")
        assert store.beat(X, 0, "t2", LEASE_S) is Order.OK

    def test_retry_waits_until_a_cancelled_experiment_has_ended(self, store: Store) -> None:
        generations = published(store, 30)
        begin(store, generations[0])
        store.cancel(X)
        store.drain(X)
        with pytest.raises(InputError, match="is ending"):
            store.retry(X, [5])
        store.release(X, 0, "t1", "cancelled", failed=False)
        assert store.retry(X, [5]) == 1
        assert [p.number for p in store.claim(store.experiment(X), workers=1)] == [5]


class TestBackOff:
    def waits_s(self, store: Store, reason: str, failures: int) -> list[float]:
        """How long the trial waited after each failure."""
        [generation] = published(store, max_attempts=9, retry_on=("error", "lost"), backoff_s=2.0, max_backoff_s=5.0)
        found = []
        for turn in range(failures):
            begin(store, generation, token=f"t{turn}")
            before = store._now_ms()
            assert store.release(X, 0, f"t{turn}", reason, failed=True) == "queued"
            found.append((store.client.zscore(f"optml:x:{X}:due", "0") - before) / 1000)
            store.client.zadd(f"optml:x:{X}:due", {"0": 0})
            generation = store.claim(store.experiment(X), workers=1)[0].generation
        return found

    def test_doubles_up_to_the_longest_and_varies_by_up_to_a_half(self, store: Store) -> None:
        waits = self.waits_s(store, "error", 4)
        for wait, full in zip(waits, (2.0, 4.0, 5.0, 5.0), strict=True):
            assert full / 2 <= wait <= full + 0.5
        store.client.flushall()
        again = self.waits_s(store, "error", 4)
        assert [round(wait, 1) for wait in again] == pytest.approx([round(wait, 1) for wait in waits], abs=0.3)

    def test_a_lost_attempt_is_no_fault_of_the_trial(self, store: Store) -> None:
        assert max(self.waits_s(store, "lost", 2)) < 0.5


class TestEvents:
    def test_what_was_out_of_the_ordinary_is_counted(self, store: Store) -> None:
        generations = published(store, 2)
        begin(store, generations[0], lease_s=0)
        time.sleep(0.005)
        store.expire()
        begin(store, generations[0], token="t2")
        begin(store, generations[0], token="t3")
        begin(store, generations[1] + 5, number=1)
        assert store.finish(X, 0, "t1", result()) == "refused"
        assert store.finish(X, 0, "t2", result()) == "accepted"
        assert store.finish(X, 0, "t2", result()) == "duplicate"
        assert store.experiment(X).events == {
            "ended:lost": 1,
            "attempts after the first": 1,
            "declined:running elsewhere": 1,
            "declined:stale message": 1,
            "refused results": 1,
            "duplicate results": 1,
        }
        [recovery_s] = store.recoveries(X)
        assert 0.005 <= recovery_s < 10

    def test_nothing_is_counted_of_an_experiment_that_never_was(self, store: Store) -> None:
        store.begin("nobody", 0, 1, "", "t", "w", LEASE_S)
        store.finish("nobody", 0, "t", result())
        assert store.client.keys("*") == []


class TestReading:
    def finished(self, store: Store, trials: int, goal: str = "minimize") -> Experiment:
        generations = published(store, trials, goal=goal)
        for number in range(len(generations)):
            begin(store, generations[number], number=number, token=f"t{number}")
            store.finish(X, number, f"t{number}", result(float((number * 7) % trials)))
        return store.experiment(X)

    @pytest.mark.parametrize(("goal", "first"), [("minimize", 0.0), ("maximize", 9.0)])
    def test_best_first(self, store: Store, goal: str, first: float) -> None:
        self.finished(store, 10, goal)
        best = [trial.metrics["nmse"] for trial in store.best(X, 10)]
        assert best[0] == first
        assert best == sorted(best, reverse=goal == "maximize")

    def test_the_log_is_in_the_order_of_finishing(self, store: Store) -> None:
        generations = published(store, 3)
        for number in (2, 0, 1):
            begin(store, generations[number], number=number, token=f"t{number}")
            store.finish(X, number, f"t{number}", result())
        assert [trial.number for trial in store.finished(X, 0, 10)] == [2, 0, 1]
        assert [trial.number for trial in store.finished(X, 1, 2)] == [0]

    def test_waiting_ends_with_news_or_the_limit(self, store: Store) -> None:
        [generation] = published(store)
        store.wait(X, 0, limit_s=0.05)
        begin(store, generation)
        store.finish(X, 0, "t1", result())
        before = time.monotonic()
        store.wait(X, 0, limit_s=60.0)
        assert time.monotonic() - before < 30

    def test_pages_agree_with_the_stream(self, store: Store) -> None:
        published(store, 250)
        everything: list[Trial] = list(store.stream(X))
        assert [trial.number for trial in everything] == list(range(250))
        assert store.page(X, None, 95, 20) == everything[95:115]
        assert store.page(X, TrialState.QUEUED, 10, 5) == everything[10:15]

    def test_remove_leaves_nothing_of_it(self, store: Store) -> None:
        generations = published(store, 3)
        begin(store, generations[0])
        store.log(X, 0, "hello")
        assert store.logs(X, 0) == ["hello"]
        store.remove(X)
        assert list(store.client.scan_iter(match=f"*{X}*")) == []
        assert store.experiments() == []
        assert store.client.zrange("optml:leases", 0, -1) == []

    def test_resolve(self, store: Store) -> None:
        with pytest.raises(NotFoundError, match="no experiment yet"):
            store.resolve("latest")
        published(store)
        assert store.resolve("latest") == X
        assert store.resolve(X) == X
        with pytest.raises(NotFoundError, match=f"did you mean {X}"):
            store.resolve("grid-abcdf")


class TestWishes:
    def test_a_wish_is_pending_once(self, store: Store) -> None:
        published(store)
        store.want(X)
        store.want(X)
        assert store.wanted(0.01) == X
        assert store.wanted(0.01) is None

    def test_the_end_of_an_experiment_is_one(self, store: Store) -> None:
        [generation] = published(store)
        while store.wanted(0.01):
            pass
        begin(store, generation)
        assert store.wanted(0.01) is None
        store.finish(X, 0, "t1", result())
        assert store.wanted(0.01) == X


class TestWorkers:
    def test_beating_workers_live_and_silent_ones_are_forgotten(self, store: Store) -> None:
        store.worker_beat("w1", {"class": "gpu"}, ttl_s=30)
        store.worker_beat("w2", {"class": "gpu", "idle_s": 9.0}, ttl_s=30)
        store.worker_beat("w3", {"class": "gpu"}, ttl_s=0)
        time.sleep(0.005)
        assert store.live_workers("gpu") == 2
        assert [worker.name for worker in store.workers()] == ["w1", "w2"]
        ago_s = store.idle_seen_ago("gpu", 5.0)
        assert ago_s is not None
        assert 0.005 <= ago_s < 5
        assert store.idle_seen_ago("gpu", 10.0) is None
        store.worker_gone("w2", "gpu")
        assert store.idle_seen_ago("gpu", 5.0) is None


def test_create_is_safe_to_repeat_and_refuses_a_taken_id(store: Store) -> None:
    assert store.create(X, SUBMISSION)
    assert not store.create(X, SUBMISSION)
    with pytest.raises(ValueError, match="not an experiment id"):
        store.create("../etc", SUBMISSION)


def test_marks_of_the_archive_move_by_compare_and_set(store: Store) -> None:
    published(store)
    assert store.set_archived(X, 5, if_was=0)
    assert not store.set_archived(X, 9, if_was=0)
    assert store.set_consolidated(X, 1, if_was=-1)
    assert store.experiment(X).archived == 5
    assert store.experiment(X).consolidated == 1


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    store = Store.from_url("redis://:hush@127.0.0.1:1/0", retries=0)
    with pytest.raises(UnreachableError) as caught:
        store.ping()
    assert "127.0.0.1:1" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_wrong_password_is_said(server: ValkeyServer) -> None:
    store = Store.from_url(f"redis://:wrong@127.0.0.1:{server.port}/0", retries=0)
    with pytest.raises(UnreachableError, match="password"):
        store.ping()
