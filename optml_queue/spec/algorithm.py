"""`algorithm: lms`: code that comes with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from optml_queue.driver import Driver, Metric, load_driver


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm by its name, or by the path of its folder where that is on every machine."""

    kind: ClassVar[str] = "algorithm"
    name: str

    def driver(self, _judged: Metric) -> Driver:
        """The algorithm, loaded. Raises DriverError."""
        return load_driver(self.name)

    def keys(self) -> dict[str, Any]:
        """As the spec's YAML has it."""
        return {"algorithm": self.name}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Algorithm:
        return cls(fields["name"])
