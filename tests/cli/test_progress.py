"""What a moment of an experiment looks like, how fast it is told to go, and what Ctrl-C does."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.cli.progress import (
    Follower,
    Interruption,
    LineDisplay,
    Pace,
    SilentDisplay,
    Snapshot,
    Total,
    activity,
    best_so_far,
    drawing,
    follow,
    plain_line,
    tally,
    total_of,
)
from optml_queue.cli.tables import rendered
from optml_queue.store import Experiment, ExperimentState
from optml_queue.trial import Trial, TrialState
from tests.cli.memory_source import experiment, trial


def snapshot(**fields: object) -> Snapshot:
    defaults: dict[str, object] = {
        "experiment": "lms-k3f9a",
        "state": "running",
        "total": Total(16),
        "counts": {TrialState.RUNNING: 2, TrialState.COMPLETE: 7, TrialState.DIVERGED: 5},
        "metric": "nmse",
        "per_second": 31.25,
        "best": trial(7, metrics={"nmse": 0.0892137}),
    }
    return Snapshot(**(defaults | fields))  # type: ignore[arg-type]


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A store that plays back moments of an experiment, then stays at the last."""

    def __init__(self, *moments: tuple[Experiment, list[Trial]]) -> None:
        self.moments = list(moments)
        self.alive = 1
        self.reads: list[tuple[int, int]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def wait(self, _experiment: str, _finished: int, /, limit_s: float) -> None:
        assert 0 < limit_s < 1
        self.meanwhile()

    def experiment(self, _experiment: str, /) -> Experiment:
        self.current = self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]
        return self.current[0]

    def finished(self, _experiment: str, start: int, stop: int, /) -> list[Trial]:
        self.reads.append((start, stop))
        return self.current[1][start:stop]

    def live_workers(self, _resource_class: str, /) -> int:
        return self.alive


def moment(trials: list[Trial], state: str = "running", **fields: object) -> tuple[Experiment, list[Trial]]:
    finished = [each for each in trials if each.finished_at is not None]
    record = experiment(trials, state=ExperimentState(state), **fields)
    return record, finished


def test_the_tally_says_when_it_is_a_bound() -> None:
    assert tally(snapshot()) == "12/16  75 %"
    assert tally(snapshot(total=Total(1_000_000, exact=False))) == "12/≤ 1,000,000  0 %"


def test_a_hundred_per_cent_means_all() -> None:
    almost = snapshot(total=Total(1000), counts={TrialState.COMPLETE: 999})
    assert tally(almost).endswith("99 %")


def test_the_line_names_what_matters() -> None:
    assert plain_line(snapshot(total=Total(1_012), durations_s=[0.064] * 5)) == (
        "lms-k3f9a: 12/1,012  1 % · 2 running · 0 failed · 5 diverged · 31.2 trials/s · 32 s left"
        " · best nmse 0.08921 at learning_rate 1e-06, filter_size 5 (trial 7)"
    )


def test_a_range_is_told_where_the_end_is_uncertain() -> None:
    line = activity(snapshot(total=Total(1_012), durations_s=[0.01, 0.02, 0.2, 0.05], per_second=None))
    assert re.search(r"39 s \(.+–.+\) left", line)


def test_rare_states_show_only_when_there_are_some() -> None:
    assert "cancelled" not in activity(snapshot())
    assert "3 cancelled" in activity(snapshot(counts={TrialState.CANCELLED: 3}))
    assert "reused" not in activity(snapshot())
    assert "7 reused" in activity(snapshot(reused=7))


def test_pausing_tells_what_the_next_interrupt_does() -> None:
    assert "Ctrl-C again leaves now" in activity(snapshot(pausing=True))


def test_there_is_no_best_before_a_complete_trial() -> None:
    assert best_so_far(snapshot(best=None)) == ""


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_live_view_fits_its_terminal(width: int) -> None:
    lines = rendered(drawing(snapshot(best=trial(7, params={"a_long_name": 1.0, "another_long_name": 2.0}))), width)
    assert len(lines.splitlines()) == 3
    assert max(map(len, lines.splitlines())) <= width


def test_the_eta_is_what_is_left_at_the_observed_rate() -> None:
    eta = snapshot(total=Total(1_000), durations_s=[0.1] * 9, per_second=10.0).eta
    assert eta is not None
    assert eta.median_s == pytest.approx((1_000 - snapshot().done) / 10.0)


def test_before_a_few_trials_have_ended_nothing_is_said_of_the_end() -> None:
    assert snapshot(durations_s=[0.1, 0.2], per_second=10.0).eta is None
    assert "left" not in plain_line(snapshot(durations_s=[0.1, 0.2], per_second=10.0))


def test_no_rate_before_the_first_finish() -> None:
    pace = Pace()
    pace.note(0.0, 0)
    assert pace.per_second(5.0) is None


@given(st.floats(min_value=0.01, max_value=3600), st.integers(min_value=2, max_value=300))
def test_a_steady_stream_has_its_own_rate(every_s: float, trials: int) -> None:
    pace = Pace()
    for done in range(trials + 1):
        pace.note(done * every_s, done)
    assert pace.per_second(trials * every_s) == pytest.approx(1 / every_s, rel=0.01)


def test_the_rate_forgets_a_slow_start() -> None:
    pace = Pace()
    pace.note(0.0, 0)
    pace.note(100.0, 1)
    for step in range(1, 401):
        pace.note(100.0 + step * 0.05, 1 + step)
    assert pace.per_second(120.0) == pytest.approx(20.0, rel=0.02)


def test_the_rate_falls_when_nothing_finishes() -> None:
    pace = Pace()
    for done in range(11):
        pace.note(float(done), done)
    assert pace.per_second(20.0) == pytest.approx(0.5)


def test_each_finished_trial_is_read_once() -> None:
    trials = [trial(n) for n in range(4)]
    store = Script(moment(trials[:1], exhausted=False), moment(trials, "complete"))
    follower = Follower(store, "lms-k3f9a", total=Total(4))
    first, last = follower.poll(), follower.poll()
    assert (first.done, last.done) == (1, 4)
    assert store.reads == [(0, 1), (1, 4)]
    assert last.best == trials[0]


def test_the_best_is_never_a_diverged_or_infeasible_one_and_follows_the_goal() -> None:
    trials = [
        trial(0, metrics={"nmse": 0.5}),
        trial(1, "diverged", metrics={"nmse": -3.0}),
        trial(2, metrics={"nmse": 0.7}),
        trial(3, metrics={}),
        trial(4, metrics={"nmse": 0.1}, reason="infeasible: nmse > 0.4"),
    ]
    assert Follower(Script(moment(trials)), "x", total=Total(5)).poll().best == trials[0]
    assert Follower(Script(moment(trials, goal="maximize")), "x", total=Total(5)).poll().best == trials[2]


def test_a_counted_total_serves_until_the_store_knows_better() -> None:
    trials = [trial(0)]
    store = Script(moment(trials, exhausted=False, next=1, end=100), moment(trials, "complete"))
    follower = Follower(store, "x", total=Total(90))
    assert follower.poll().total == Total(90)
    assert follower.poll().total == Total(1)


def test_an_experiment_that_is_over_has_as_many_trials_as_it_has() -> None:
    assert total_of(experiment([trial(0), trial(1)])) == Total(2)


def test_it_says_when_nobody_is_there_to_work() -> None:
    clock = Clock()
    store = Script(moment([trial(0, "queued", finished_at=None)], resource_class="gpu"))
    store.alive = 0
    follower = Follower(store, "x", total=Total(4), clock=clock)
    assert "waiting" not in activity(follower.poll())
    clock.now = 1.5
    assert "waiting for a worker of class gpu" in activity(follower.poll())
    store.alive = 1
    clock.now = 3.0
    assert "waiting" not in activity(follower.poll())


def test_plain_lines_are_sparse() -> None:
    clock, out = Clock(), io.StringIO()
    display = LineDisplay(out, clock)
    for done in range(101):
        clock.now += 0.2
        counts = {TrialState.COMPLETE: done}
        display.show(snapshot(total=Total(100), counts=counts, ended=done == 100, state="running"))
    display.close()
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("lms-k3f9a: 0/100")
    assert lines[-1].startswith("lms-k3f9a: 100/100")
    assert 10 <= len(lines) <= 12


def test_slow_trials_get_a_line_every_ten_seconds_with_news() -> None:
    clock, out = Clock(), io.StringIO()
    display = LineDisplay(out, clock)
    for second in range(60):
        clock.now = float(second)
        display.show(snapshot(total=Total(1000), counts={TrialState.COMPLETE: second // 15}))
    assert len(out.getvalue().splitlines()) == 4


class Recorder(SilentDisplay):
    """Notes whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    with Interruption() as handlers:
        yield handlers


def test_following_ends_with_the_experiment(interruption: Interruption) -> None:
    store = Script(moment([]), moment([trial(0)]), moment([trial(0)], "complete"))
    display = Recorder()
    last = follow(Follower(store, "x", total=Total(4)), display, interruption, pytest.fail)
    assert last.ended
    assert display.closed


def test_the_first_interrupt_pauses_and_waits_for_running_trials(interruption: Interruption) -> None:
    running = trial(1, "running", finished_at=None)
    store = Script(
        moment([trial(0), running]),
        moment([trial(0), running], "paused"),
        moment([trial(0), trial(1)], "paused", exhausted=False),
    )
    paused: list[str] = []

    def interrupt() -> None:
        if not paused:
            os.kill(os.getpid(), signal.SIGINT)

    store.meanwhile = interrupt
    last = follow(Follower(store, "x", total=Total(4)), Recorder(), interruption, lambda: paused.append("paused"))
    assert paused == ["paused"]
    assert last.running == 0
    assert last.done == 2
    assert not last.ended


def test_the_second_interrupt_leaves_at_once(interruption: Interruption) -> None:
    store = Script(moment([trial(1, "running", finished_at=None)]))
    display = Recorder()
    paused: list[str] = []

    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    store.meanwhile = interrupt_twice
    follower = Follower(store, "x", total=Total(4))
    with pytest.raises(KeyboardInterrupt):
        follow(follower, display, interruption, lambda: paused.append("paused"))
    assert display.closed
    # However quick the second was: nobody goes on publishing for one who left.
    assert paused == ["paused"]


def test_sigterm_is_as_the_first_interrupt_however_often_it_comes(interruption: Interruption) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.requested


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
