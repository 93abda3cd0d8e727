"""Data as a command gets them: a file on this machine, to be read by the command itself."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optml_queue.data import DataSpec, Series, find_file, load

NAME = "data.csv"


@dataclass(frozen=True, slots=True)
class DataFile:
    """The data of a spec. `path` is None for a series that comes with the package: it is written into a CSV file."""

    spec: DataSpec
    path: Path | None

    @classmethod
    def of(cls, spec: DataSpec, fetch: Callable[[str], Path] | None = None, cache_dir: Path | None = None) -> DataFile:
        """The file of a spec, brought here by `fetch` (see `optml_queue.data.load`). Raises DataError."""
        return cls(spec, find_file(spec, fetch, cache_dir))

    def document(self, folder: Path) -> Mapping[str, Any]:
        """What OPTML_TRIAL says of the data: the keys of the spec, and the path; `folder` takes a file, if need be."""
        path = self.path or _written(self.spec, folder / NAME)
        options = {name: value for name, value in self.spec.options.items() if name != "path"}
        return {"kind": self.spec.kind, "path": str(path), "test": self.spec.test_fraction, **options}


def _written(spec: DataSpec, path: Path) -> Path:
    series = load(spec)
    assert isinstance(series, Series)  # noqa: S101 - all that comes with the package is
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["value"])
        writer.writerows([repr(value)] for value in series.values.tolist())
    return path
