"""What a spec's `data:` names, without reading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

SERIES = ("sunspots", "channel", "csv")
TABLES = ("digits", "mnist", "npz", "table")
KINDS = SERIES + TABLES
SHIPPED = ("sunspots", "channel")  # the other kinds are read from a file that a worker may not have

TEST_FRACTION = 0.1
CHANNEL_SAMPLES = 10_000
MIN_ROWS = 10  # of a series
TASKS = ("classification", "regression")


@dataclass(frozen=True)
class DataSpec:
    """A data set as a spec names it.

    `test` is the fraction that is kept for the test; None stands for the test part that the data bring along,
    and for a tenth where they bring none. `digest` is the SHA-256 of the content of the file, "" for data that
    ship with the package and as long as the file was not read. `options` by kind, all of them optional but path
    and target:

        channel                          samples, seed
        csv                              path, column
        table                            path, target, task
        npz                              path, task
        mnist                            path
        table, npz, mnist and digits     validation (a fraction), seed (of the shuffling; None: in order), standardize
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    test: float | None = None
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "options": dict(self.options), "test": self.test, "digest": self.digest}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DataSpec:
        return cls(**fields)

    @cached_property
    def content_key(self) -> str:
        """What the loaded data depend on, as text: everything but where the file lies."""
        options = {name: value for name, value in self.options.items() if name != "path" or not self.digest}
        return json.dumps([self.kind, options, self.test, self.digest], sort_keys=True)

    @property
    def test_fraction(self) -> float:
        """The fraction kept for the test where the data bring no test part along."""
        return TEST_FRACTION if self.test is None else self.test
