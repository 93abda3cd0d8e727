"""How the rows of a file become a table: shuffled, split into parts, standardised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optml_queue.data import digits, mnist, npz, table_file
from optml_queue.data.dataspec import DataSpec
from optml_queue.data.series import rows_of
from optml_queue.data.source import Indices, Rows, Source, as_targets, chunks_of
from optml_queue.errors import DataError

Statistics = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # mean and deviation of each input

_READERS: dict[str, Callable[[Path, DataSpec], Source]] = {
    "digits": lambda path, _spec: digits.read(path),
    "mnist": lambda path, _spec: mnist.read(path),
    "npz": lambda path, _spec: npz.read(path),
    "table": lambda path, spec: table_file.read(path, spec.options["target"]),
}


@dataclass(frozen=True, slots=True)
class Assembly:
    """A table to be: all about it is known, but its inputs are not in one place.

    `sequence` are the rows in the table's order, `parts` the numbers of training, validation and test rows.
    `targets` are (rows,) in the table's order.
    """

    sequence: tuple[tuple[Rows, Indices], ...]
    parts: tuple[int, int, int]
    targets: npt.NDArray[Any]
    classes: tuple[str, ...]
    statistics: Statistics | None

    @property
    def rows(self) -> int:
        return len(self.targets)

    @property
    def features(self) -> int:
        return self.sequence[0][0].features

    @property
    def input_bytes(self) -> int:
        return 4 * self.rows * self.features

    def chunks(self) -> Iterator[npt.NDArray[np.float32]]:
        """The inputs in the table's order, (some rows, features) float32 at a time."""
        for rows, order in self.sequence:
            for chunk in chunks_of(rows, order):
                yield chunk if self.statistics is None else _standardized(chunk, self.statistics)


def assemble(spec: DataSpec, path: Path) -> Assembly:
    """Read the file of a spec. Raises DataError when it cannot be used, or has too few rows for the parts."""
    options = spec.options
    name = str(options.get("path") or path)
    source = _READERS[spec.kind](path, spec)
    if source.own_test is not None and spec.test is not None:
        raise DataError(f"{name}: has a test part of its own; leave test: out")
    parts = _parts(name, source, spec)
    order = _order(len(source.rows), options.get("seed"))
    sequence: list[tuple[Rows, Indices]] = [(source.rows, order)]
    targets = source.targets[order]
    if source.own_test is not None:
        rows, own_targets = source.own_test
        sequence.append((rows, np.arange(len(rows))))
        targets = np.concatenate([targets, own_targets])
    indices, classes = as_targets(name, targets, options.get("task", ""))
    if len(classes) == 1:
        raise DataError(f"{name}: every row has the target {classes[0]!r}; there is nothing to learn")
    statistics = _statistics(source, order[: parts[0]]) if options.get("standardize") else None
    return Assembly(tuple(sequence), parts, indices, classes, statistics)


def _parts(name: str, source: Source, spec: DataSpec) -> tuple[int, int, int]:
    rows = len(source.rows)
    validation = rows_of(spec.options.get("validation", 0.0), rows)
    own_test = None if source.own_test is None else len(source.own_test[0])
    test = rows_of(spec.test_fraction, rows) if own_test is None else own_test
    train = rows - validation - (test if own_test is None else 0)
    if train < 1 or test < 1:
        missing = "test" if test < 1 else "train"
        raise DataError(f"{name}: {rows} rows leave none to {missing} on; give more rows or other fractions")
    if spec.options.get("validation") and not validation:
        raise DataError(f"{name}: a fraction of {spec.options['validation']:g} of {rows} rows is no row to validate on")
    return train, validation, test


def _order(rows: int, seed: int | None) -> Indices:
    return np.arange(rows) if seed is None else np.random.default_rng(seed).permutation(rows)


def _statistics(source: Source, order: Indices) -> Statistics:
    """Mean and standard deviation of the inputs over some rows; (0, 1) for what is not to be scaled.

    In two passes: the difference of two sums would lose the deviation of values far from zero.
    """
    mean = sum(chunk.sum(axis=0, dtype=np.float64) for chunk in chunks_of(source.rows, order)) / len(order)
    squares = sum(np.square(chunk - mean).sum(axis=0) for chunk in chunks_of(source.rows, order))
    deviation = np.sqrt(squares / len(order))
    deviation[deviation == 0] = 1  # an input that never changes becomes 0
    if source.scaled is not None:
        mean[~source.scaled] = 0
        deviation[~source.scaled] = 1
    return mean, deviation


def _standardized(chunk: npt.NDArray[np.float32], statistics: Statistics) -> npt.NDArray[np.float32]:
    mean, deviation = statistics
    return ((chunk - mean) / deviation).astype(np.float32)
