"""Watching an experiment: what a moment of it looks like, and the three ways to show it."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from optml_queue.cli import units
from optml_queue.driver import Goal
from optml_queue.eta import Eta, estimate
from optml_queue.trial import TERMINAL_STATES, Trial, TrialState

if TYPE_CHECKING:
    from rich.console import Console, Group

    from optml_queue.store import Experiment

REFRESH_S = 0.1
REFRESH_S = 0.1
WORKERS_EVERY_S = 1.0
LINE_EVERY_S = 10.0
LINE_EVERY_SHARE = 0.1
READ_AT_ONCE = 1_000
COUNTED_MAX = 10_000
RECENT = 50  # durations that the end is estimated from


class Followed(Protocol):
    """What following needs of a store."""

    def experiment(self, experiment: str, /) -> Experiment: ...

    def finished(self, experiment: str, start: int, stop: int, /) -> Sequence[Trial]: ...

    def wait(self, experiment: str, finished: int, /, limit_s: float) -> None: ...

    def live_workers(self, resource_class: str, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Total:
    """How many trials an experiment has; an upper bound when `exact` is False."""

    trials: int
    exact: bool = True


def total_of(experiment: Experiment) -> Total:
    """How many trials an experiment will have, counted where that takes no time."""
    if experiment.is_total_known:
        return Total(experiment.total)
    from optml_queue.experiments import plan_of

    return Total(*plan_of(experiment.spec).count(COUNTED_MAX))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An experiment at one moment, as the progress display needs it.

    `lacks_workers` names the resource class when it has no living worker.
    """

    experiment: str
    state: str
    total: Total
    counts: Mapping[TrialState, int]
    metric: str
    ended: bool = False
    per_second: float | None = None
    durations_s: Sequence[float] = ()
    best: Trial | None = None
    failure: Trial | None = None
    reused: int = 0
    elapsed_s: float = 0.0
    pausing: bool = False
    stopping: bool = False
    lacks_workers: str = ""

    @property
    def done(self) -> int:
        """Trials in a terminal state."""
        return sum(self.counts.get(state, 0) for state in TERMINAL_STATES)

    @property
    def running(self) -> int:
        return self.counts.get(TrialState.RUNNING, 0)

    @property
    def share(self) -> float:
        """The finished part, 0 to 1."""
        return min(1.0, self.done / self.total.trials) if self.total.trials else 1.0

    @property
    def eta(self) -> Eta | None:
        """How long it takes still; None before enough has ended to tell."""
        at_once = max(1, self.running)  # short trials may be caught between two
        return estimate(self.total.trials - self.done, self.durations_s, at_once, per_second=self.per_second)


@dataclass(slots=True)
class Pace:
    """Throughput from observed finishes: over the last 10 s, or over the last 20 changes when those took longer.

    A long window for slow trials and a short one for fast ones, so that the ETA neither freezes nor jumps.
    """

    window_s: float = 10.0
    changes: int = 20
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, done: int) -> None:
        """Record that `done` trials are finished at `now` (seconds of any steady clock)."""
        if self.seen and self.seen[-1][1] == done:
            return
        self.seen.append((now, done))
        while len(self.seen) > self.changes and now - self.seen[1][0] > self.window_s:
            self.seen.popleft()

    def per_second(self, now: float) -> float | None:
        """Trials a second; None until the first one has finished."""
        if len(self.seen) < 2:
            return None
        since, done = self.seen[0]
        return (self.seen[-1][1] - done) / max(now - since, 1e-3)


def better(candidate: Trial, best: Trial | None, metric: str, goal: Goal) -> bool:
    """Whether `candidate` beats `best`: complete and feasible, with the metric, and strictly nearer to the goal."""
    if candidate.state is not TrialState.COMPLETE or metric not in candidate.metrics or not candidate.is_feasible:
        return False
    if best is None:
        return True
    difference = candidate.metrics[metric] - best.metrics[metric]
    return difference < 0 if goal is Goal.MINIMIZE else difference > 0


class Follower:
    """Reads an experiment again and again, each finished trial once, in memory that does not grow with it."""

    def __init__(
        self,
        store: Followed,
        experiment: str,
        *,
        total: Total,
        best: Trial | None = None,
        seen: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.total = total
        self.best = best
        self.failure: Trial | None = None
        self.pausing = False
        self._seen = seen
        self._clock = clock
        self._began_at = clock()
        self._pace = Pace()
        self._durations_s: deque[float] = deque(maxlen=RECENT)
        self._lacks_workers = ""
        self._asked_for_workers_at = self._began_at

    def poll(self) -> Snapshot:
        """The experiment as it stands now."""
        record = self.store.experiment(self.experiment)
        self._read_finished(record)
        now = self._clock()
        self._pace.note(now, record.terminal - record.reused)  # those took no time
        return Snapshot(
            experiment=record.id,
            state=record.state,
            ended=record.is_over,
            total=self._total(record),
            counts=record.counts,
            metric=record.metric,
            per_second=self._pace.per_second(now),
            durations_s=tuple(self._durations_s),
            best=self.best,
            failure=self.failure,
            reused=record.reused,
            elapsed_s=now - self._began_at,
            pausing=self.pausing,
            stopping=record.ending == "stopped",
            lacks_workers=self._missing_class(record, now),
        )

    def wait(self, limit_s: float) -> None:
        """Wait for a trial to end, at most so long."""
        self.store.wait(self.experiment, self._seen, limit_s)

    def _missing_class(self, record: Experiment, now: float) -> str:
        """The class without a living worker, asked for once a second while nothing runs."""
        if record.counts[TrialState.RUNNING]:
            self._lacks_workers = ""
        elif now - self._asked_for_workers_at >= WORKERS_EVERY_S:
            self._asked_for_workers_at = now
            alive = self.store.live_workers(record.resource_class)
            self._lacks_workers = "" if alive else record.resource_class
        return self._lacks_workers

    def _total(self, record: Experiment) -> Total:
        return Total(record.total) if record.is_total_known else self.total

    def _read_finished(self, record: Experiment) -> None:
        goal = Goal(record.goal)
        while self._seen < record.finished:
            stop = min(record.finished, self._seen + READ_AT_ONCE)
            for trial in self.store.finished(self.experiment, self._seen, stop):
                self._take(trial, record.metric, goal)
            self._seen = stop

    def _take(self, trial: Trial, metric: str, goal: Goal) -> None:
        if trial.run_s is not None:
            self._durations_s.append(trial.run_s)
        if better(trial, self.best, metric, goal):
            self.best = trial
        if trial.state is TrialState.FAILED and self.failure is None:
            self.failure = trial


def tally(snapshot: Snapshot) -> str:
    """`12/16  75 %`; an upper bound is marked `≤`."""
    bound = "" if snapshot.total.exact else "≤ "
    return f"{units.count(snapshot.done)}/{bound}{units.count(snapshot.total.trials)}  {_percent(snapshot)} %"


def _percent(snapshot: Snapshot) -> int:
    # 100 % is said when all is done, and not a trial earlier.
    return int(snapshot.share * 100)


def activity(snapshot: Snapshot) -> str:
    """`2 running · 1 failed · 5 diverged · 31.2 trials/s · 4.0 s left`; rare states only when there are some."""
    parts = [f"{units.count(snapshot.running)} running", f"{units.count(_of(snapshot, TrialState.FAILED))} failed"]
    parts.append(f"{units.count(_of(snapshot, TrialState.DIVERGED))} diverged")
    parts += [
        f"{units.count(_of(snapshot, state))} {word}"
        for state, word in ((TrialState.STOPPED_EARLY, "stopped early"), (TrialState.CANCELLED, "cancelled"))
        if _of(snapshot, state)
    ]
    if snapshot.reused:
        parts.append(f"{units.count(snapshot.reused)} reused")
    if snapshot.per_second is not None and not snapshot.pausing:
        parts.append(units.rate(snapshot.per_second))
    parts.append(_outlook(snapshot))
    return " · ".join(part for part in parts if part)


def _of(snapshot: Snapshot, state: TrialState) -> int:
    return snapshot.counts.get(state, 0)


def _outlook(snapshot: Snapshot) -> str:
    if snapshot.ended:
        return f"{snapshot.state} in {units.duration(snapshot.elapsed_s)}"
    if snapshot.pausing:
        return "pausing (Ctrl-C again leaves now)"
    if snapshot.state == "paused":
        return "paused"
    if snapshot.stopping:
        return "stops when these have ended"
    if snapshot.lacks_workers:
        return f"waiting for a worker of class {snapshot.lacks_workers}"
    eta = snapshot.eta
    if eta is None:
        return f"{units.duration(snapshot.elapsed_s)} so far" if snapshot.elapsed_s >= 1 else ""
    return units.time_left(eta)


def best_so_far(snapshot: Snapshot) -> str:
    """`best nmse 0.08921 at learning_rate 1e-06, filter_size 5 (trial 7)`; empty before there is one."""
    if snapshot.best is None:
        return ""
    value = units.number(snapshot.best.metrics[snapshot.metric])
    where = units.point(snapshot.best.params)
    return f"best {snapshot.metric} {value} at {where} (trial {snapshot.best.number})"


def plain_line(snapshot: Snapshot) -> str:
    """All of it on one line, for logs."""
    parts = [f"{snapshot.experiment}: {tally(snapshot)}", activity(snapshot), best_so_far(snapshot)]
    return " · ".join(part for part in parts if part)


class Display(Protocol):
    """A way to show snapshots. `close` shows the last one for good."""

    def show(self, snapshot: Snapshot, /) -> None: ...

    def close(self) -> None: ...


class SilentDisplay:
    """Shows nothing."""

    def show(self, _snapshot: Snapshot, /) -> None:
        return None

    def close(self) -> None:
        return None


class LineDisplay:
    """Plain lines, sparse: the first moment, then at every tenth of the whole or every 10 s with news, and the end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._shown: Snapshot | None = None
        self._shown_at = 0.0
        self._last: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        if self._due(snapshot):
            self._write(snapshot)

    def close(self) -> None:
        if self._last is not None and self._last is not self._shown:
            self._write(self._last)

    def _due(self, snapshot: Snapshot) -> bool:
        if self._shown is None or snapshot.pausing != self._shown.pausing:
            return True
        if snapshot.lacks_workers and not self._shown.lacks_workers:
            return self._clock() - self._shown_at >= LINE_EVERY_S
        if snapshot.ended:
            return not self._shown.ended
        if snapshot.share - self._shown.share >= LINE_EVERY_SHARE:
            # Ten tenths within a second would be ten lines that nobody reads.
            return self._clock() - self._shown_at >= 1.0
        return snapshot.done != self._shown.done and self._clock() - self._shown_at >= LINE_EVERY_S

    def _write(self, snapshot: Snapshot) -> None:
        self._shown, self._shown_at = snapshot, self._clock()
        self._stream.write(plain_line(snapshot) + "\n")
        self._stream.flush()


class LiveDisplay:
    """A bar and two lines that stay in place, ten times a second, on a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self._clock = clock
        self._drawn_at = 0.0
        self._last: Snapshot | None = None
        # Drawn by the polling loop: no second thread that could draw over an error message.
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        urgent = self._last is None or snapshot.state != self._last.state
        self._last = snapshot
        if urgent or self._clock() - self._drawn_at >= REFRESH_S:
            self._draw(snapshot)

    def close(self) -> None:
        if self._last is not None:
            self._draw(self._last)
        self._live.stop()

    def _draw(self, snapshot: Snapshot) -> None:
        self._drawn_at = self._clock()
        self._live.update(drawing(snapshot), refresh=True)


def drawing(snapshot: Snapshot) -> Group:
    """What a terminal shows of a snapshot: three lines, cut rather than wrapped."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2, 0, 0), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    bar = ProgressBar(total=max(snapshot.total.trials, 1), completed=snapshot.done)
    head.add_row(Text(snapshot.experiment, style="bold"), bar, tally(snapshot))
    lines = [Text(activity(snapshot), no_wrap=True, overflow="ellipsis")]
    if snapshot.best is not None:
        lines.append(Text(best_so_far(snapshot), style="green", no_wrap=True, overflow="ellipsis"))
    return Group(head, *lines)


class Interruption(AbstractContextManager["Interruption"]):
    """Ctrl-C and SIGTERM while an experiment is watched: the first is a wish to pause, the second Ctrl-C ends us."""

    def __init__(self) -> None:
        self.requested = False
        self._restore = ExitStack()

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._restore.callback(signal.signal, number, signal.signal(number, self._on_signal))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> Any:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def follow(
    follower: Follower,
    display: Display,
    interruption: Interruption,
    pause: Callable[[], object],
) -> Snapshot:
    """Show the experiment until it ends, or until it is paused on request and no trial runs; the last snapshot.

    Raises KeyboardInterrupt at the second Ctrl-C; the experiment is paused by then.
    """
    try:
        while True:
            snapshot = follower.poll()
            display.show(snapshot)
            if snapshot.ended or (follower.pausing and not snapshot.running):
                return snapshot
            if interruption.requested and not follower.pausing:
                pause()
                follower.pausing = True
                continue
            follower.wait(REFRESH_S)
    except KeyboardInterrupt:
        if not follower.pausing:
            pause()
        raise
    finally:
        display.close()
