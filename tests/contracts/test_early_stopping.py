"""Early stopping, a target and a budget over a real store; its scripts against the model in Python, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optml_queue import experiments
from optml_queue.budget import Budget
from optml_queue.driver import Goal, Order
from optml_queue.early_stopping import EarlyStopping, Judge
from optml_queue.store import ExperimentState, NewTrial, ReusedResult, Store, Submission
from optml_queue.trial import TrialResult, TrialState, digest
from tests.valkey_server import ValkeyServer, redis_binary, valkey_binary, valkey_server

pytestmark = pytest.mark.integration

X = "grid-abcde"
SUBMISSION = Submission(name="grid", spec="{}", end=8, metric="loss", goal="minimize", resource_class="default")
TRIALS = 8


@dataclass(frozen=True)
class Known:
    """A result of an earlier trial."""

    curve: dict[int, float]
    state: TrialState = TrialState.COMPLETE
    enters_rungs: bool = True


@pytest.fixture(scope="module", params=[valkey_binary, redis_binary], ids=["valkey", "redis-6.2"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with valkey_server(request.param()) as server:
        yield (running := _client(server))
        running.close()


def _client(server: ValkeyServer) -> Store:
    return Store.from_url(server.url)


def running(store: Store, submission: Submission, trials: int = TRIALS, known: Sequence[Known] = ()) -> None:
    """An experiment whose trials all run, with their numbers as tokens; those after them take results over."""
    store.client.flushall()
    assert store.create(X, replace(submission, end=trials + len(known)))
    new = [NewTrial(n, {"rate": n}, 0) for n in range(trials)]
    new += [NewTrial(n, {"rate": n}, 0, reused=_reused(store, n, each)) for n, each in enumerate(known, trials)]
    assert store.reserve(X, 0, trials + len(known), new, exhausted=True)
    for message in store.claim(store.experiment(X), workers=1):
        number = message.number
        store.begin(X, number, message.generation, digest(message.params), token(number), "w", 60.0)


def _reused(store: Store, number: int, known: Known) -> ReusedResult:
    if known.curve:
        store.client.hset(f"optml:x:early:curve:{number}", mapping={s: repr(v) for s, v in known.curve.items()})
    return ReusedResult("early", number, f"early/{number}", known.state, '{"loss":1.0}', '""', known.enters_rungs)


def token(number: int) -> str:
    return f"t{number}"


def finish(store: Store, number: int, loss: float, reason: str = "") -> None:
    result = TrialResult(TrialState.COMPLETE, {"loss": loss}, reason)
    assert store.finish(X, number, token(number), result) == "accepted"


RULES = st.one_of(
    st.builds(
        EarlyStopping,
        st.just("asha"),
        min_steps=st.integers(1, 3),
        reduction=st.integers(2, 4),
        max_steps=st.sampled_from([0, 5, 9]),
    ),
    st.builds(
        EarlyStopping,
        st.just("hyperband"),
        min_steps=st.integers(1, 2),
        reduction=st.integers(2, 3),
        max_steps=st.integers(3, 12),
    ),
    st.builds(EarlyStopping, st.just("median"), min_steps=st.integers(1, 3), min_trials=st.integers(1, 3)),
)
VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(), st.floats(-1, 1))
REPORTS = st.lists(st.tuples(st.integers(0, TRIALS - 1), st.integers(0, 12), VALUES, st.booleans()), max_size=60)


KNOWN = st.builds(
    Known,
    st.dictionaries(st.integers(0, 12), VALUES, max_size=6),
    st.sampled_from([TrialState.COMPLETE, TrialState.DIVERGED]),
    st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(
    rule=RULES,
    goal=st.sampled_from(list(Goal)),
    at=st.sampled_from(["last", "best"]),
    known=st.lists(KNOWN, max_size=3),
    reports=REPORTS,
)
def test_the_script_decides_as_the_model_does(
    store: Store,
    rule: EarlyStopping,
    goal: Goal,
    at: str,
    known: list[Known],
    reports: list[tuple[int, int, float, bool]],
) -> None:
    """Trials report in any order, steps come twice and out of order, and trials finish in between.

    Results of earlier trials were there before.
    """
    running(store, replace(SUBMISSION, early_stopping=rule, goal=goal, at=at), known=known)
    judge, finished = Judge(rule, goal, at), set[int]()
    for number, each in enumerate(known, TRIALS):
        is_complete = each.state is TrialState.COMPLETE
        judge.take_over(number, each.curve, is_complete=is_complete, enters_rungs=each.enters_rungs)
        assert store.curve(X, number) == pytest.approx(each.curve, nan_ok=True)
    for number, step, value, ends in reports:
        if number in finished:
            continue
        expected = Order.STOP if judge.report(number, step, value) else Order.OK
        assert store.report(X, number, token(number), step, value) is expected
        if ends and expected is Order.OK:
            finish(store, number, 1.0)
            judge.complete(number)
            finished.add(number)


@pytest.mark.parametrize(
    ("rule", "known", "order"),
    [
        (EarlyStopping("asha", reduction=2), Known({1: 0.5}), Order.STOP),
        (EarlyStopping("asha", reduction=2), Known({1: 0.5}, enters_rungs=False), Order.OK),
        (EarlyStopping("median", min_trials=1), Known({1: 0.5}), Order.STOP),
        (EarlyStopping("median", min_trials=1), Known({1: 0.5}, TrialState.DIVERGED), Order.OK),
    ],
)
def test_others_are_compared_with_a_result_that_is_taken_over(
    store: Store, rule: EarlyStopping, known: Known, order: Order
) -> None:
    running(store, replace(SUBMISSION, early_stopping=rule), known=[known])
    judge, is_complete = Judge(rule, Goal.MINIMIZE), known.state is TrialState.COMPLETE
    judge.take_over(TRIALS, known.curve, is_complete=is_complete, enters_rungs=known.enters_rungs)
    assert store.report(X, 0, token(0), 1, 0.6) is order
    assert judge.report(0, 1, 0.6) is (order is Order.STOP)


ASHA = replace(SUBMISSION, early_stopping=EarlyStopping("asha", reduction=2))


def test_a_trial_enters_a_rung_once_whatever_its_attempts(store: Store) -> None:
    running(store, ASHA)
    assert store.report(X, 0, token(0), 1, 0.5) is Order.OK
    store.release(X, 0, token(0), "released", failed=False)
    (again,) = store.claim(store.experiment(X), workers=1)
    store.begin(X, 0, again.generation, digest(again.params), "second", "w", 60.0)
    assert store.report(X, 0, "second", 1, 9.0) is Order.OK  # the first value stands
    assert store.report(X, 1, token(1), 1, 0.7) is Order.STOP
    assert store.curve(X, 0) == {1: 0.5}


def test_who_was_told_to_stop_is_told_again_also_in_the_next_attempt(store: Store) -> None:
    running(store, ASHA)
    store.report(X, 0, token(0), 1, 0.5)
    assert [store.report(X, 1, token(1), step, 0.7) for step in (1, 1, 2)] == [Order.STOP] * 3
    store.release(X, 1, token(1), "lost", failed=True)
    (again,) = store.claim(store.experiment(X), workers=1)
    store.begin(X, 1, again.generation, digest(again.params), "second", "w", 60.0)
    assert store.beat(X, 1, "second", 5.0) is Order.STOP


def test_the_best_of_a_rung_goes_on(store: Store) -> None:
    running(store, ASHA)
    told = [store.report(X, n, token(n), 1, 1.0 - n / 10) for n in range(TRIALS)]
    assert told == [Order.OK] * TRIALS  # each is the best when it comes
    assert store.report(X, 0, token(0), 2, 1.0) is Order.OK
    assert store.report(X, 1, token(1), 2, 1.0) is Order.OK  # as good as the best


@pytest.mark.parametrize("rule", [ASHA.early_stopping, EarlyStopping("hyperband", max_steps=9, reduction=2)])
def test_a_curve_that_comes_along_enters_the_rungs_of_one_that_ran(store: Store, rule: EarlyStopping) -> None:
    curves = [{1: 0.5, 2: 0.1, 4: 0.1}, {1: 0.6, 2: 0.05, 4: 0.0}, {1: 0.4, 2: 0.2, 4: 0.3}, {1: 0.45, 2: 0.1}]
    running(store, replace(SUBMISSION, early_stopping=rule), len(curves))
    for number, curve in enumerate(curves):
        for step, value in curve.items():
            if store.report(X, number, token(number), step, value) is Order.STOP:
                break
    ran = rungs(store)
    running(store, replace(SUBMISSION, early_stopping=rule), 0, list(map(Known, curves)))
    assert rungs(store) == ran != {}
    # Those that a rule chose are no measure for others.
    running(store, replace(SUBMISSION, early_stopping=rule), 0, [Known(curve, enters_rungs=False) for curve in curves])
    assert rungs(store) == {}


def rungs(store: Store) -> dict[str, list[tuple[str, float]]]:
    """Who is on which rung, with which value."""
    return {key: store.client.zrange(key, 0, -1, withscores=True) for key in store.client.keys(f"optml:x:{X}:rung:*")}


@pytest.mark.parametrize(("goal", "misses", "hits"), [("minimize", 0.06, 0.05), ("maximize", 0.94, 0.95)])
def test_a_target_ends_the_experiment(store: Store, goal: str, misses: float, hits: float) -> None:
    running(store, replace(SUBMISSION, goal=goal, target=0.05 if goal == "minimize" else 0.95))
    finish(store, 0, misses)
    assert not store.experiment(X).ending
    finish(store, 1, hits, "infeasible: rate < 0")
    assert not store.experiment(X).ending
    finish(store, 2, hits)
    assert store.beat(X, 3, token(3), 5.0) is Order.CANCEL
    for number in range(3, TRIALS):
        assert store.release(X, number, token(number), "cancelled", failed=False) == "cancelled"
    found = store.experiment(X)
    assert found.state is ExperimentState.COMPLETE
    assert found.reason == f"target reached: trial 2 has loss {hits}"
    assert found.counts[TrialState.CANCELLED] == TRIALS - 3
    assert [trial.number for trial in store.best(X, 9)] == [2, 0]  # what is not feasible has no place


def test_a_number_of_trials_ends_the_experiment(store: Store) -> None:
    running(store, replace(SUBMISSION, budget=Budget(trials=2)))
    finish(store, 0, 1.0)
    assert not store.experiment(X).ending
    store.finish(X, 1, token(1), TrialResult(TrialState.DIVERGED, {}))
    assert store.experiment(X).reason == "budget spent: 2 trials have ended"


@pytest.mark.parametrize(
    ("budget", "prices", "reason"),
    [
        (Budget(worker_hours=1e-6), {}, "budget spent: 1e-06 worker hours"),
        (Budget(wall=0.01), {}, "budget spent: 0.01 s since submission"),
        (Budget(cost=0.001), {"default": 1000.0}, "budget spent: a cost of 0.001"),
    ],
)
def test_time_spent_ends_the_experiment_while_trials_run(
    store: Store, budget: Budget, prices: dict[str, float], reason: str
) -> None:
    running(store, replace(SUBMISSION, budget=budget))
    begun = time.monotonic()
    while not store.experiment(X).ending and time.monotonic() - begun < 5:
        experiments.advance(store, lambda _publications: None, X, prices)
    assert store.experiment(X).reason == reason
    assert store.beat(X, 0, token(0), 5.0) is Order.CANCEL


def test_a_cost_without_a_price_pauses_the_experiment(store: Store) -> None:
    running(store, replace(SUBMISSION, budget=Budget(cost=1.0)))
    experiments.advance(store, lambda _publications: None, X, {"gpu": 1.2})
    found = store.experiment(X)
    assert found.state is ExperimentState.PAUSED
    assert "OPTML_PRICES=default=PRICE" in found.reason


def test_worker_time_is_counted_once_for_each_attempt(store: Store) -> None:
    running(store, SUBMISSION, 2)
    time.sleep(0.05)
    store.release(X, 0, token(0), "released", failed=False)
    first = store.experiment(X).worker_s
    assert 0.05 <= first < 5
    finish(store, 1, 1.0)
    assert first < store.experiment(X).worker_s <= 3 * first + 1


def test_the_median_is_of_running_means_of_complete_trials(store: Store) -> None:
    running(store, replace(SUBMISSION, early_stopping=EarlyStopping("median", min_steps=2, min_trials=2)))
    for number, values in ((0, (4.0, 2.0)), (1, (6.0, 2.0))):  # means 3 and 4 at step 2
        for step, value in enumerate(values, start=1):
            assert store.report(X, number, token(number), step, value) is Order.OK
        finish(store, number, 2.0)
    assert store.report(X, 2, token(2), 1, 99.0) is Order.OK  # before min_steps
    assert store.report(X, 2, token(2), 2, 3.6) is Order.STOP
    assert store.report(X, 3, token(3), 1, 3.4) is Order.OK
    assert store.report(X, 3, token(3), 2, 99.0) is Order.OK  # its best value counts
    assert store.report(X, 4, token(4), 3, 99.0) is Order.OK  # nobody complete came so far
