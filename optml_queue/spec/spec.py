"""The spec of an experiment, checked and with every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optml_queue.budget import NO_BUDGET, Budget
from optml_queue.data import DataSpec
from optml_queue.driver import DURATION, Driver, Goal, Metric
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import DriverError
from optml_queue.expression import Expression, parse_freely
from optml_queue.space import Space
from optml_queue.spec.code import Code, code_from_dict
from optml_queue.spec.command import Command
from optml_queue.spec.document import DocumentError, compose, dump
from optml_queue.spec.prior import Reuse, StartFrom
from optml_queue.spec.search import Search, Stage, method_keys
from optml_queue.trial import Params, Reason, encode

DEFAULT_CLASS = "default"
NO_BATCH = "off"  # one message for each trial
BATCHES = (NO_BATCH, "auto")  # auto: trials that were measured to be short share messages
RETAINED = ("all", "summary")  # what the store keeps of finished trials
RETRYABLE_REASONS = tuple(reason.value for reason in Reason if reason not in (Reason.RELEASED, Reason.CANCELLED))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a trial may be attempted in all, after which ends of an attempt again, and how long it waits before.

    The wait, `backoff_s` after the first failure, doubles with each up to `max_backoff_s`; a random part of it, up to
    a half, is left out. After `lost` there is none.
    """

    max_attempts: int = 3
    on: frozenset[str] = frozenset({Reason.LOST.value, Reason.OUT_OF_MEMORY.value})
    backoff_s: float = 1.0
    max_backoff_s: float = 30.0

    def to_dict(self) -> dict[str, Any]:
        """The policy with the keys of a spec."""
        waits = {"backoff": self.backoff_s, "max_backoff": self.max_backoff_s}
        return {"max_attempts": self.max_attempts, "on": sorted(self.on), **waits}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RetryPolicy:
        """The policy that `to_dict` wrote, or a version that had no waits."""
        default = cls()
        waits = (fields.get("backoff", default.backoff_s), fields.get("max_backoff", default.max_backoff_s))
        return cls(fields["max_attempts"], frozenset(fields["on"]), *waits)


@dataclass(frozen=True)
class Spec:
    """What one experiment does. Made by `load_spec` from YAML, and by `from_json` from the store's record.

    `seed` belongs to the search, `seeds` to the trials: every point is tried once with each of them.
    `points` are tried first. A point holds the parameters that the spec names; the driver adds its defaults.
    None means without limit; `data` are None where the code needs none. `earlier` are the searches that this one
    extends, the first one first. `other_metrics` are weighed against `metric`, by which alone trials are ranked and
    stopped; `constraints` are over metrics and parameters of complete trials. `start_from` and `reuse` say what is
    taken over from earlier experiments. `text` is the YAML as typed, with what `--set` changed.
    """

    name: str
    code: Code
    method: str
    metric: str
    goal: Goal
    space: Space
    data: DataSpec | None
    at: str = "last"
    seed: int = 0
    points: tuple[Params, ...] = ()
    seeds: tuple[int, ...] = (0,)
    max_trials: int | None = None
    max_parallel: int | None = None
    max_failed: int | None = None
    timeout_s: float | None = None
    retry: RetryPolicy = RetryPolicy()
    resource_class: str = DEFAULT_CLASS
    priority: int = 0
    batch: str = NO_BATCH
    earlier: tuple[Search, ...] = ()
    other_metrics: tuple[Metric, ...] = ()
    constraints: tuple[Expression, ...] = ()
    early_stopping: EarlyStopping | None = None
    target: float | None = None
    budget: Budget = NO_BUDGET
    retain: str = RETAINED[0]
    stages: tuple[Stage, ...] = ()
    start_from: StartFrom | None = None
    reuse: Reuse | None = None
    text: str = field(default="", compare=False, repr=False)

    @cached_property
    def driver(self) -> Driver:
        """What runs the code, loaded when first asked for. Raises DriverError."""
        return self.code.driver(Metric(self.metric, self.goal))

    @cached_property
    def defaults(self) -> Params:
        """What the code declares for parameters that a point leaves out; {} where the code is not at hand.

        An uploaded program is not: it runs where it trains, and nowhere else.
        """
        try:
            return self.driver.complete({})
        except DriverError:
            return {}

    def line_of(self, key: str) -> int:
        """The line of a key of `text`, counted from 1; 0 when it is not there."""
        try:
            entries = compose(self.text)[0].value
        except DocumentError:
            return 0
        return entries[key].line if isinstance(entries, dict) and key in entries else 0

    @property
    def search(self) -> Search:
        """Which trials there are, but for those of earlier searches."""
        return Search(self.method, self.space, self.seed, self.points, self.seeds, self.max_trials, stages=self.stages)

    def to_dict(self) -> dict[str, Any]:
        """The spec with the keys of its YAML, every default filled in; limits that are not set are left out."""
        data = {} if self.data is None else {"data": _data_keys(self.data)}
        start = {"start_from": list(self.start_from.experiments)} if self.start_from else {}
        reuse = {"reuse": True} if self.reuse else {}
        return {"name": self.name, **self.code.keys(), **data, **self._settings(), **start, **reuse}

    def _settings(self) -> dict[str, Any]:
        """All but name, code, data and what comes from earlier experiments."""
        limits = {
            "max_trials": self.max_trials,
            "max_parallel": self.max_parallel,
            "max_failed": self.max_failed,
            "timeout": self.timeout_s,
        }
        return {
            "method": method_keys(self.method, self.stages),
            **({"seed": self.seed} if self.method != "grid" else {}),
            **self._judged_by(),
            "parameters": {axis.name: axis.to_dict() for axis in self.space.axes},
            "exclude": [condition.text for condition in self.space.exclude],
            "points": list(self.points),
            "seeds": list(self.seeds),
            **{key: limit for key, limit in limits.items() if limit is not None},
            "retry": self.retry.to_dict(),
            "resources": {"class": self.resource_class},
            "priority": self.priority,
            **({"batch": self.batch} if self.batch != NO_BATCH else {}),
            **({"early_stopping": self.early_stopping.to_dict()} if self.early_stopping else {}),
            **({"target": self.target} if self.target is not None else {}),
            **({"budget": self.budget.to_dict()} if self.budget != NO_BUDGET else {}),
            **({"retain": self.retain} if self.retain != RETAINED[0] else {}),
            **({"earlier": [search.to_dict() for search in self.earlier]} if self.earlier else {}),
        }

    def _judged_by(self) -> dict[str, Any]:
        others = [{"name": metric.name, "goal": metric.goal.value} for metric in self.other_metrics]
        metrics = {"metrics": [self._metric_keys(), *others]} if others else {"metric": self._metric_keys()}
        constraints = {"constraints": [each.text for each in self.constraints]} if self.constraints else {}
        return {**metrics, **constraints}

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All that it names; the first is the one judged by."""
        return (Metric(self.metric, self.goal), *self.other_metrics)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of `metrics`."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def measures_duration(self) -> bool:
        """Whether what trains a trial adds `duration_s`, the seconds of its last attempt, to its metrics."""
        named = any(metric.name == DURATION for metric in self.other_metrics)
        return named or any(DURATION in each.names for each in self.constraints)

    def _metric_keys(self) -> dict[str, Any]:
        keys = {"name": self.metric, "goal": self.goal.value, "at": self.at}
        return {**keys, "source": self.code.metric_source} if isinstance(self.code, Command) else keys

    def to_yaml(self) -> str:
        """The spec as YAML that `load_spec` reads as the same spec."""
        return dump(self.to_dict())

    def to_json(self) -> str:
        """The spec as the store keeps it: floats keep every bit, the digests of data and code come along."""
        data = None if self.data is None else self.data.to_dict()
        prior = {key: each.to_dict() for key, each in (("start_from", self.start_from), ("reuse", self.reuse)) if each}
        known = {"name": self.name, "code": self.code.to_dict(), "data": data}
        return encode({**known, **self._settings(), **prior, "text": self.text})

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """The spec that `to_json` wrote; nothing is checked again, and no driver is loaded."""
        fields = json.loads(text)
        metric, *others = fields.get("metrics") or [fields["metric"]]
        search = Search.from_dict(fields)
        constraints = [parse_freely(text) for text in fields.get("constraints", ())]
        return cls(
            name=fields["name"],
            code=code_from_dict(fields["code"]),
            method=search.method,
            stages=search.stages,
            seed=search.seed,
            metric=metric["name"],
            goal=Goal(metric["goal"]),
            at=metric["at"],
            space=search.space,
            data=None if fields["data"] is None else DataSpec.from_dict(fields["data"]),
            points=search.points,
            seeds=search.seeds,
            max_trials=search.max_trials,
            max_parallel=fields.get("max_parallel"),
            max_failed=fields.get("max_failed"),
            timeout_s=fields.get("timeout"),
            retry=RetryPolicy.from_dict(fields["retry"]),
            resource_class=fields["resources"]["class"],
            priority=fields["priority"],
            batch=fields.get("batch", NO_BATCH),
            other_metrics=tuple(Metric(each["name"], Goal(each["goal"])) for each in others),
            constraints=tuple(constraints),
            early_stopping=EarlyStopping.from_dict(fields["early_stopping"]) if "early_stopping" in fields else None,
            target=fields.get("target"),
            budget=Budget.from_dict(fields.get("budget", {})),
            retain=fields.get("retain", RETAINED[0]),
            earlier=tuple(Search.from_dict(each) for each in fields.get("earlier", ())),
            start_from=StartFrom.from_dict(fields["start_from"]) if "start_from" in fields else None,
            reuse=Reuse.from_dict(fields["reuse"]) if "reuse" in fields else None,
            text=fields["text"],
        )


def _data_keys(data: DataSpec) -> dict[str, Any]:
    options = dict(data.options)
    if data.kind in ("csv", "table"):
        keys = {"csv": options.pop("path"), **options}
    elif data.kind == "npz":
        keys = {"npz": options.pop("path"), **options}
    else:
        keys = {"name": data.kind, **options}
    return keys if data.test is None else {**keys, "test": data.test}
