"""An experiment as the store holds it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optml_queue.budget import NO_BUDGET, Budget
from optml_queue.early_stopping import EarlyStopping
from optml_queue.trial import TERMINAL_STATES, TrialState

WINDOW_AT_START = 100  # a grid this small is in the queue whole at once; claim.lua has the same figure


class ExperimentState(StrEnum):
    """Where an experiment is. The last four are over; a stopped one may have trials that wait for `resume`."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        return self in OVER


OVER = frozenset({ExperimentState.COMPLETE, ExperimentState.FAILED, ExperimentState.CANCELLED, ExperimentState.STOPPED})


@dataclass(frozen=True, slots=True)
class Submission:
    """What an experiment begins with. `end` is one past the last trial number of its plan."""

    name: str
    spec: str
    end: int
    metric: str
    goal: str
    resource_class: str
    max_parallel: int | None = None
    max_failed: int | None = None
    max_trials: int | None = None
    max_attempts: int = 3
    retry_on: tuple[str, ...] = ("lost", "out_of_memory")
    backoff_s: float = 0.0
    max_backoff_s: float = 0.0
    timeout_s: float | None = None
    priority: int = 0
    batch: str = "off"
    at: str = "last"
    early_stopping: EarlyStopping | None = None
    target: float | None = None
    budget: Budget = NO_BUDGET
    retain: str = "all"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """The fields of the experiment's hash; an absent limit is an empty text."""
        return {
            "name": self.name,
            "spec": self.spec,
            "end": str(self.end),
            "metric": self.metric,
            "goal": self.goal,
            "class": self.resource_class,
            "max_parallel": _text(self.max_parallel),
            "max_failed": _text(self.max_failed),
            "max_trials": _text(self.max_trials),
            "max_attempts": str(self.max_attempts),
            "retry_on": f",{','.join(sorted(self.retry_on))},",
            "backoff_ms": str(int(self.backoff_s * 1000)),
            "max_backoff_ms": str(int(self.max_backoff_s * 1000)),
            "timeout_s": _text(self.timeout_s),
            "priority": str(self.priority),
            "batch": self.batch,
            "at": self.at,
            "stop": "",
            **(self.early_stopping.fields() if self.early_stopping else {}),
            "target": _text(self.target),
            "budget_trials": _text(self.budget.trials),
            "budget_hours": _text(self.budget.worker_hours),
            "budget_wall_s": _text(self.budget.wall),
            "budget_cost": _text(self.budget.cost),
            "retain": self.retain,
            "facts": json.dumps(dict(self.facts)),
        }


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment, its counters read at one moment.

    `counts` has every trial state. `window` bounds how many trials wait in the queue; below `low` more are asked for.
    `finished` is the length of the log of finished trials, `archived` how much of it lies in parts, `consolidated` the
    length that the final files cover (-1: none). `extensions` is how often its plan was extended. `worker_s` is the
    time of all attempts that ended, `reused` how many trials have the result of an earlier one. `events` counts what
    was out of the ordinary, under the names that the scripts give it. `is_restoring`: it is coming back from the
    archive, and not all of it is there.
    """

    id: str
    name: str
    state: ExperimentState
    spec: str
    created_at: float
    end: int
    next: int
    exhausted: bool
    counts: Mapping[TrialState, int]
    metric: str
    goal: str
    resource_class: str
    reason: str = ""
    ending: str = ""
    finished_at: float | None = None
    max_parallel: int | None = None
    max_trials: int | None = None
    timeout_s: float | None = None
    priority: int = 0
    target: float | None = None
    budget: Budget = NO_BUDGET
    created: int = 0
    published: int = 0
    window: int = WINDOW_AT_START
    low: int = 1
    recovered: int = 0
    finished: int = 0
    archived: int = 0
    consolidated: int = -1
    extensions: int = 0
    worker_s: float = 0.0
    reused: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    is_restoring: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.state.is_over

    @property
    def is_window_filled(self) -> bool:
        """Whether so many trials wait in the queue that nobody asks for more."""
        return self.published >= self.low

    @property
    def is_consolidated(self) -> bool:
        """Whether the archive's final files show the experiment as it ended."""
        return self.is_over and self.consolidated == self.finished

    @property
    def terminal(self) -> int:
        """How many trials have ended."""
        return sum(self.counts[state] for state in TERMINAL_STATES)

    @property
    def is_total_known(self) -> bool:
        """Whether every trial that there will be has been reserved."""
        return self.exhausted or (self.is_over and self.state is not ExperimentState.STOPPED)

    @property
    def total(self) -> int:
        """How many trials there will be: exact once all are reserved, an upper bound before."""
        if self.is_total_known:
            return self.created
        bound = self.created + max(0, self.end - self.next)
        return bound if self.max_trials is None else min(bound, self.max_trials)

    @classmethod
    def opened(cls, id: str, submission: Submission) -> Experiment:  # noqa: A002
        """An experiment as it is about to begin, by this machine's clock."""
        return cls(
            id=id,
            name=submission.name,
            state=ExperimentState.RUNNING,
            spec=submission.spec,
            created_at=time.time(),
            end=submission.end,
            next=0,
            exhausted=False,
            counts=dict.fromkeys(TrialState, 0),
            metric=submission.metric,
            goal=submission.goal,
            resource_class=submission.resource_class,
            max_parallel=submission.max_parallel,
            max_trials=submission.max_trials,
            timeout_s=submission.timeout_s,
            priority=submission.priority,
            target=submission.target,
            budget=submission.budget,
            facts=submission.facts,
        )

    @classmethod
    def decode(cls, id: str, record: Mapping[str, str], *, published: int, finished: int) -> Experiment:  # noqa: A002
        return cls(
            id=id,
            name=record["name"],
            state=ExperimentState(record["state"]),
            spec=record.get("spec", ""),
            created_at=int(record["created_at"]) / 1000,
            end=int(record["end"]),
            next=int(record["next"]),
            exhausted=record["exhausted"] == "1",
            counts={state: int(record.get(f"n:{state}", 0)) for state in TrialState},
            metric=record["metric"],
            goal=record["goal"],
            resource_class=record["class"],
            reason=record.get("reason", ""),
            ending=record.get("ending", ""),
            finished_at=int(record["finished_at"]) / 1000 if "finished_at" in record else None,
            max_parallel=_limit(record.get("max_parallel")),
            max_trials=_limit(record.get("max_trials")),
            timeout_s=float(record["timeout_s"]) if record.get("timeout_s") else None,
            priority=int(record.get("priority", 0)),
            target=_figure(record.get("target")),
            budget=Budget(
                _limit(record.get("budget_trials")),
                *(_figure(record.get(f"budget_{name}")) for name in ("hours", "wall_s", "cost")),
            ),
            created=int(record.get("created", 0)),
            published=published,
            window=int(record.get("window", WINDOW_AT_START)),
            low=int(record.get("low", 1)),
            recovered=int(record.get("recovered", 0)),
            finished=finished,
            archived=int(record.get("archived", 0)),
            consolidated=int(record.get("consolidated", -1)),
            extensions=int(record.get("extensions", 0)),
            worker_s=int(record.get("worker_ms", 0)) / 1000,
            reused=int(record.get("reused", 0)),
            events={name[2:]: int(record[name]) for name in record if name.startswith("e:")},
            is_restoring="restoring" in record,
            facts=json.loads(record.get("facts", "{}")),
        )


def _text(limit: float | None) -> str:
    return "" if limit is None else repr(limit)


def _limit(text: str | None) -> int | None:
    return int(text) if text else None


def _figure(text: str | None) -> float | None:
    return float(text) if text else None
