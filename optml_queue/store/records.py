"""What goes into the store's scripts and comes out of them, as values.

Each record owns its decoding. Times are milliseconds inside the store and seconds everywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optml_queue.trial import Attempt, Params, Trial, TrialResult, TrialState, decode_metrics, encode

Carried = tuple[tuple[int, int], ...]  # number and generation of trials that share a message
_STATES = {state.value: state for state in TrialState}


@dataclass(frozen=True, slots=True)
class ReusedResult:
    """What a trial of an earlier experiment came to. `ran` is the one that ran: itself, or that it was taken from.

    `metrics` and `reason` are JSON, as the store has them: nobody reads them on the way. `enters_rungs`: whether its
    curve is one that others may be compared with, rung by rung. It is not where early stopping had chosen those that
    have a result.
    """

    experiment: str
    number: int
    ran: str
    state: TrialState
    metrics: str
    reason: str
    enters_rungs: bool = True

    @property
    def result(self) -> TrialResult:
        return TrialResult(self.state, decode_metrics(json.loads(self.metrics)), json.loads(self.reason))

    def to_line(self) -> str:
        """One line of text; JSON has no tabs between its tokens, and ids have none at all."""
        said = (self.experiment, str(self.number), self.ran, self.state, self.metrics, self.reason)
        return "\t".join((*said, "1" if self.enters_rungs else "0"))

    @classmethod
    def from_line(cls, line: str) -> ReusedResult:
        """What `to_line` wrote."""
        experiment, number, ran, state, metrics, reason, enters_rungs = line.split("\t")
        return cls(experiment, int(number), ran, _STATES[state], metrics, reason, enters_rungs == "1")


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial about to be reserved. Of those that wait, the one with the greatest `cost` is published first.

    One with a `reused` result ends as it is reserved.
    """

    number: int
    params: Params
    seed: int
    cost: float | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)  # as in Trial
    reused: ReusedResult | None = None


@dataclass(frozen=True, slots=True)
class RestoredTrial:
    """A trial that had begun or waited when the store was lost; it runs again, from its last checkpoint ("": none)."""

    number: int
    params: Params
    seed: int
    attempts: int = 0
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """A trial to be put on the queue. `generation` grows with every publication; older messages are stale.

    `overtakes` names experiments whose messages of a lesser generation, in the same queue, were all recalled for it.
    `more` are number and generation of trials that its message carries along, to run after it.
    """

    experiment: str
    number: int
    params: Params
    generation: int
    resource_class: str
    timeout_s: float | None = None
    overtakes: frozenset[str] = frozenset()
    more: Carried = ()

    @property
    def trials(self) -> int:
        """How many trials its message stands for."""
        return 1 + len(self.more)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`begin` said yes: the attempt's number, the parameters the store holds, the key of the trial's last checkpoint.

    "" is the key of none.
    """

    attempt: int
    params: Params
    seed: int
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """One of several trials that a message carried has a result.

    It began and ended `began_ago_s` and `ended_ago_s` seconds before the store is told.
    """

    number: int
    result: TrialResult
    began_ago_s: float
    ended_ago_s: float


@dataclass(frozen=True, slots=True)
class Declined:
    """`begin` said no, and why. The message is to be acknowledged and forgotten."""

    why: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to do for one resource class, in trials.

    `queued` are reserved, whether published or not, `unpublished` are not reserved yet. Both count only what could
    run now if there were workers without end: nothing of an experiment that is paused or ending, and no more than its
    `max_parallel` leaves room for, nor than UNPUBLISHED_MAX.
    """

    queued: int = 0
    running: int = 0
    unpublished: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.running + self.unpublished

    def __add__(self, other: Backlog) -> Backlog:
        return Backlog(self.queued + other.queued, self.running + other.running, self.unpublished + other.unpublished)

    @classmethod
    def of(cls, record: Mapping[str, str]) -> Backlog:
        """The part of one experiment, out of the fields of its record."""
        running = int(record.get("n:running", 0))
        if record["state"] != "running" or "ending" in record:
            return cls(running=running)
        room = UNPUBLISHED_MAX
        if "max_parallel" in record:
            room = max(0, int(record["max_parallel"]) - running)
        queued = min(int(record.get("n:queued", 0)), room)
        unreserved = 0 if record["exhausted"] == "1" else max(0, int(record["end"]) - int(record["next"]))
        if "max_trials" in record:
            unreserved = min(unreserved, int(record["max_trials"]) - int(record.get("created", 0)))
        return cls(queued, running, max(0, min(unreserved, room - queued)))


UNPUBLISHED_MAX = 10_000  # the widest window of an experiment: nobody scales further on its account


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A living worker: what it last said of itself."""

    name: str
    facts: Mapping[str, Any]

    @property
    def resource_class(self) -> str:
        return str(self.facts.get("class", ""))


def _seconds(time_ms: float | str | None) -> float | None:
    return float(time_ms) / 1000 if time_ms else None


def finished_trial(number: int, record: str) -> Trial:
    """The trial that a finished record (a JSON list, written by `conclude` in prelude.lua) stands for."""
    return _finished(number, *json.loads(record))


def finished_trials(records: Mapping[int, str]) -> dict[int, Trial]:
    """The trials of several records; they are decoded together, in two thirds of the time."""
    decoded = json.loads(f"[{','.join(records.values())}]")
    return {number: _finished(number, *facts) for number, facts in zip(records, decoded, strict=True)}


def _finished(
    number: int,
    state: str,
    seed: int,
    params: Params,
    metrics: dict[str, float | str],
    reason: str,
    error: str,
    attempts: int,
    worker: str,
    queued_ms: int | None,
    started_ms: int | None,
    finished_ms: int | None,
    origin: dict[str, Any] | None = None,
) -> Trial:
    # By place: half a million times for a large export, and names take twice as long.
    return Trial(
        number,
        _STATES[state],
        params,
        seed,
        decode_metrics(metrics),
        reason,
        error,
        attempts,
        worker,
        queued_ms / 1000 if queued_ms else None,
        started_ms / 1000 if started_ms else None,
        finished_ms / 1000 if finished_ms else None,
        origin or {},
    )


def finished_record(trial: Trial) -> str:
    """The record of a finished trial, as `finished_trial` reads it."""
    times = (_milliseconds(time_s) for time_s in (trial.queued_at, trial.started_at, trial.finished_at))
    facts = (trial.state, trial.seed, trial.params, trial.metrics, trial.reason, trial.error, trial.attempts)
    return encode([*facts, trial.worker, *times, *([trial.origin] if trial.origin else [])])


def attempt_record(attempt: Attempt) -> str:
    """The record of an attempt, as `ended_attempt` reads it."""
    times = (_milliseconds(attempt.started_at), _milliseconds(attempt.ended_at))
    said = (attempt.reason, attempt.error, attempt.traceback, attempt.output)
    return encode([attempt.attempt, attempt.worker, *times, *said])


def _milliseconds(time_s: float | None) -> int | None:
    return None if time_s is None else round(time_s * 1000)


LIVE_FIELDS = ("s", "p", "seed", "a", "w", "q", "b", "from")


def live_trial(number: int, values: Sequence[str | None]) -> Trial | None:
    """The trial that the fields LIVE_FIELDS of a live record stand for; None when there is no such record."""
    state, params, seed, attempts, worker, queued, begun, origin = values
    if state is None:
        return None
    running = state == TrialState.RUNNING
    return Trial(
        number=number,
        state=TrialState(state),
        params=json.loads(params or "{}"),
        seed=int(seed or 0),
        attempts=int(attempts or 0),
        worker=(worker or "") if running else "",
        queued_at=_seconds(queued),
        started_at=_seconds(begun) if running else None,
        origin=json.loads(origin or "{}"),
    )


def ended_attempt(record: str) -> Attempt:
    """The attempt that a record of `<x>:attempts:<n>` stands for."""
    attempt, worker, started, ended, *rest = json.loads(record)
    return Attempt(attempt, worker, started / 1000, ended / 1000, *rest)
