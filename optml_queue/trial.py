"""A trial: one point of the search space under one seed; its states, attempts and result.

Every record here owns its JSON form (`to_json`, `from_json`); nothing else encodes or decodes one.
Times are seconds since the epoch, UTC, taken from the store's clock.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

ParamValue = bool | int | float | str | list["ParamValue"]
Params = dict[str, ParamValue]


class TrialState(StrEnum):
    """Where a trial is in its life. The last five are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED_EARLY = "stopped_early"
    CANCELLED = "cancelled"


INFEASIBLE = "infeasible"  # how the reason of a complete trial that breaks a constraint begins; prelude.lua has it too

REUSED_FROM = "reused_from"  # in the origin of a trial whose result is an earlier one's: which, as in `lms-k3f9a/17`

LIVE_STATES = frozenset({TrialState.QUEUED, TrialState.RUNNING})
TERMINAL_STATES = frozenset(TrialState) - LIVE_STATES
REOPENABLE_STATES = frozenset({TrialState.FAILED, TrialState.CANCELLED})


class Reason(StrEnum):
    """Why an attempt ended without a result."""

    LOST = "lost"  # its worker was
    ERROR = "error"  # an exception, or something that could not be loaded or started
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"  # ended by a signal
    EXIT_CODE = "exit_code"  # a command ended with a code other than 0
    NO_METRIC = "no_metric"  # it ended well and did not give the metric
    BAD_METRIC = "bad_metric"  # what it gave for the metric is not a number
    RELEASED = "released"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a trial by one worker that ended without a result, and why.

    `output` is the end of what it wrote to stdout and stderr.
    """

    attempt: int
    worker: str
    started_at: float
    ended_at: float
    reason: str
    error: str = ""
    traceback: str = ""
    output: str = ""

    def to_json(self) -> str:
        return encode([getattr(self, each.name) for each in fields(self)])

    @classmethod
    def from_json(cls, text: str | bytes) -> Attempt:
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What one attempt found: a terminal state (never CANCELLED by a worker) and its metrics."""

    state: TrialState
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial as people read it. `attempts` counts the executions begun so far.

    `origin` says where its point comes from, when a searcher learned from others: `method`, `seen` (how many had
    ended when it was suggested), `parents` (their numbers) and `ancestors` (trials of the
    experiments that it was started from), if it has any. With `reused_from`, its result is that
    of a trial of an earlier experiment.
    """

    number: int
    state: TrialState
    params: Params
    seed: int
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    error: str = ""
    attempts: int = 0
    worker: str = ""
    queued_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps the constraints that its spec has for complete trials."""
        return not (self.state is TrialState.COMPLETE and self.reason.startswith(f"{INFEASIBLE}:"))

    @property
    def parents(self) -> list[int]:
        """The numbers of the trials whose points its own descends from: the first trials of those points."""
        return list(self.origin.get("parents", ()))

    @property
    def reused_from(self) -> str:
        """The trial of an earlier experiment that its result was taken from, as in `lms-k3f9a/17`; "" when it ran."""
        return str(self.origin.get(REUSED_FROM, ""))

    @property
    def wait_s(self) -> float | None:
        """Seconds from entering the queue to the begin of the last attempt."""
        return between(self.queued_at, self.started_at)

    @property
    def run_s(self) -> float | None:
        """Seconds the last attempt ran."""
        return between(self.started_at, self.finished_at)

    def to_json(self) -> str:
        """One line of results.jsonl."""
        return encode(
            {
                "number": self.number,
                "seed": self.seed,
                "state": self.state,
                "params": self.params,
                "metrics": self.metrics,
                "reason": self.reason,
                "error": self.error,
                "attempts": self.attempts,
                "worker": self.worker,
                "queued_at": self.queued_at,
                "started_at": self.started_at,
                "finished_at": self.finished_at,
                **({"origin": self.origin} if self.origin else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Trial:
        record = json.loads(text)
        return cls(**{**record, "state": TrialState(record["state"]), "metrics": decode_metrics(record["metrics"])})


def between(start: float | None, end: float | None) -> float | None:
    """Seconds from one time to another, never below 0; None when one of them is not known."""
    return None if start is None or end is None else max(0.0, end - start)


# Made once: `json.dumps` with options makes one for every call, which takes as long as the encoding.
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


def encode(value: Any) -> str:
    """Compact JSON. Floats keep every bit; non-finite ones, which JSON lacks, become the text "nan", "inf", "-inf"."""
    try:
        return _COMPACT.encode(value)
    except ValueError:
        return _COMPACT.encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def decode_metrics(metrics: Mapping[str, float | str]) -> dict[str, float]:
    """The metrics of a record, its "nan", "inf" and "-inf" floats again."""
    return {name: float(value) for name, value in metrics.items()}


def digest(params: Mapping[str, ParamValue]) -> str:
    """A short fingerprint of a point: the first 16 digits of `fingerprint`."""
    return fingerprint(params)[:16]


def fingerprint(params: Mapping[str, ParamValue]) -> str:
    """What no two points share: 64 hexadecimal digits, SHA-256 over the canonical JSON."""
    return hashlib.sha256(_CANONICAL.encode(params).encode()).hexdigest()
