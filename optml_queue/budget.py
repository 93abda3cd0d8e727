"""What an experiment may spend before it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits, each None where there is none; the first one reached ends the experiment.

    `trials` counts those that ended with a result or failed, `worker_hours` what attempts took, `wall` the seconds
    since submission, `cost` the worker hours times the price of one in the experiment's resource class.
    """

    trials: int | None = None
    worker_hours: float | None = None
    wall: float | None = None
    cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The limits that there are, with the keys of a spec; durations in seconds."""
        return {key: limit for key, limit in asdict(self).items() if limit is not None}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Budget:
        """The budget that `to_dict` wrote."""
        return cls(**fields)


NO_BUDGET = Budget()
