"""The spec of an experiment, checked and with every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optml_queue.data import DataSpec
from optml_queue.driver import Driver, Goal, load_driver
from optml_queue.expression import parse
from optml_queue.space import Space, axis_from_dict
from optml_queue.spec.document import dump
from optml_queue.trial import Params, Reason, encode

DEFAULT_CLASS = "default"
RETRYABLE_REASONS = tuple(reason.value for reason in Reason if reason not in (Reason.RELEASED, Reason.CANCELLED))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a trial may be attempted in all, and after which ends of an attempt again."""

    max_attempts: int = 3
    on: frozenset[str] = frozenset({Reason.LOST.value, Reason.OUT_OF_MEMORY.value})


@dataclass(frozen=True)
class Spec:
    """What one experiment does. Made by `load_spec` from YAML, and by `from_json` from the store's record.

    `seed` belongs to random search, `seeds` to the trials: every point is tried once with each of them.
    `points` are tried first. A point holds the parameters that the spec names; the driver adds its defaults.
    None means without limit. `text` is the YAML as typed, with what `--set` changed.
    """

    name: str
    algorithm: str
    method: str
    metric: str
    goal: Goal
    space: Space
    data: DataSpec
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
    text: str = field(default="", compare=False, repr=False)

    @cached_property
    def driver(self) -> Driver:
        """The algorithm, loaded when first asked for. Raises DriverError."""
        return load_driver(self.algorithm)

    def to_dict(self) -> dict[str, Any]:
        """The spec with the keys of its YAML, every default filled in; limits that are not set are left out."""
        limits = {
            "max_trials": self.max_trials,
            "max_parallel": self.max_parallel,
            "max_failed": self.max_failed,
            "timeout": self.timeout_s,
        }
        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "method": self.method,
            **({"seed": self.seed} if self.method == "random" else {}),
            "metric": {"name": self.metric, "goal": self.goal.value, "at": self.at},
            "parameters": {axis.name: axis.to_dict() for axis in self.space.axes},
            "data": _data_keys(self.data),
            "exclude": [condition.text for condition in self.space.exclude],
            "points": list(self.points),
            "seeds": list(self.seeds),
            **{key: limit for key, limit in limits.items() if limit is not None},
            "retry": {"max_attempts": self.retry.max_attempts, "on": sorted(self.retry.on)},
            "resources": {"class": self.resource_class},
            "priority": self.priority,
        }

    def to_yaml(self) -> str:
        """The spec as YAML that `load_spec` reads as the same spec."""
        return dump(self.to_dict())

    def to_json(self) -> str:
        """The spec as the store keeps it: floats keep every bit, the digest of the data comes along."""
        return encode({**self.to_dict(), "data": self.data.to_dict(), "text": self.text})

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """The spec that `to_json` wrote; nothing is checked again, and no driver is loaded."""
        fields = json.loads(text)
        metric = fields["metric"]
        return cls(
            name=fields["name"],
            algorithm=fields["algorithm"],
            method=fields["method"],
            seed=fields.get("seed", 0),
            metric=metric["name"],
            goal=Goal(metric["goal"]),
            at=metric["at"],
            space=_space(fields["parameters"], fields["exclude"]),
            data=DataSpec.from_dict(fields["data"]),
            points=tuple(fields["points"]),
            seeds=tuple(fields["seeds"]),
            max_trials=fields.get("max_trials"),
            max_parallel=fields.get("max_parallel"),
            max_failed=fields.get("max_failed"),
            timeout_s=fields.get("timeout"),
            retry=RetryPolicy(fields["retry"]["max_attempts"], frozenset(fields["retry"]["on"])),
            resource_class=fields["resources"]["class"],
            priority=fields["priority"],
            text=fields["text"],
        )


def _space(parameters: Mapping[str, Mapping[str, Any]], exclude: list[str]) -> Space:
    axes = (
        axis_from_dict(name, form, parse(form["when"], parameters) if "when" in form else None)
        for name, form in parameters.items()
    )
    return Space(tuple(axes), tuple(parse(text, parameters) for text in exclude))


def _data_keys(data: DataSpec) -> dict[str, Any]:
    if data.kind == "csv":
        options = dict(data.options)
        return {"csv": options.pop("path"), **options, "test": data.test}
    return {"name": data.kind, **data.options, "test": data.test}
