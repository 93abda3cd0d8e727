"""Rows as their file has them, before they are split, shuffled and scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from optml_queue.errors import DataError

CHUNK_ROWS = 4_096
INFERRED_CLASSES = 20
MAX_CLASSES = 1_000

Indices = npt.NDArray[np.intp]


class Rows(Protocol):
    """The inputs of many rows."""

    features: int

    def __len__(self) -> int: ...

    def take(self, indices: Indices) -> npt.NDArray[np.float32]:
        """The inputs of some rows, (len(indices), features) float32; a copy."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a file holds.

    `targets` are (n,) numbers or text, one for each row, `own_test` the test part where the file has one.
    `scaled` says of each input whether `standardize` is about it; None means all.
    """

    rows: Rows
    targets: npt.NDArray[Any]
    own_test: tuple[Rows, npt.NDArray[Any]] | None = None
    scaled: npt.NDArray[np.bool_] | None = None


class ArrayRows:
    """The rows of an array of (n, …) numbers, divided by `unit`."""

    def __init__(self, values: npt.NDArray[Any], unit: float = 1.0) -> None:
        self._values = values.reshape(len(values), -1)
        self._unit = np.float32(unit)
        self.features = self._values.shape[1]

    def __len__(self) -> int:
        return len(self._values)

    def take(self, indices: Indices) -> npt.NDArray[np.float32]:
        chunk = self._values[indices].astype(np.float32)
        if self._unit != 1:
            chunk /= self._unit
        return chunk


class ColumnRows:
    """The rows of columns: numbers as they are, and codes of categories as one input of 0 or 1 for each category.

    `columns` holds (values, number of categories) of each column; 0 categories: numbers.
    """

    def __init__(self, columns: Sequence[tuple[npt.NDArray[Any], int]]) -> None:
        self._columns = columns
        self.features = sum(categories or 1 for _values, categories in columns)

    def __len__(self) -> int:
        return len(self._columns[0][0])

    def take(self, indices: Indices) -> npt.NDArray[np.float32]:
        chunk = np.zeros((len(indices), self.features), dtype=np.float32)
        start = 0
        for values, categories in self._columns:
            if categories:
                chunk[np.arange(len(indices)), start + values[indices]] = 1
            else:
                chunk[:, start] = values[indices]
            start += categories or 1
        return chunk


def chunks_of(rows: Rows, order: Indices) -> Iterator[npt.NDArray[np.float32]]:
    """The inputs of the rows in some order, a few thousand rows at a time."""
    for start in range(0, len(order), CHUNK_ROWS):
        yield rows.take(order[start : start + CHUNK_ROWS])


def as_targets(name: str, targets: npt.NDArray[Any], task: str) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Targets as (n,) int64 class indices and the sorted names of the classes, or as (n,) float64 and ().

    Text stands for classes, and so do whole numbers of at most 20 different values; other numbers are numbers.
    `task` decides otherwise: "classification", "regression", "" for neither. `name` is for messages.
    """
    if targets.dtype.kind == "U":
        if task == "regression":
            raise DataError(f"{name}: the targets are text, as in {str(targets[0])[:80]!r}; regression needs numbers")
        return _classes(name, targets)
    if task == "regression":
        return targets.astype(np.float64), ()
    if task == "classification" or _are_labels(targets):
        return _classes(name, targets)
    return targets.astype(np.float64), ()


def _are_labels(targets: npt.NDArray[Any]) -> bool:
    # A look at the beginning spares sorting most targets that are measurements.
    return all(_few_whole_numbers(part) for part in (targets[:1_000], targets))


def _few_whole_numbers(values: npt.NDArray[Any]) -> bool:
    return bool(np.all(values == np.trunc(values))) and len(np.unique(values)) <= INFERRED_CLASSES


def _classes(name: str, targets: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    values, indices = np.unique(targets, return_inverse=True)
    if len(values) > MAX_CLASSES:
        raise DataError(
            f"{name}: the targets have {len(values):,} different values; there may be {MAX_CLASSES:,} classes "
            "(numbers to be predicted as numbers need task: regression)"
        )
    return indices.reshape(-1).astype(np.int64), tuple(map(_class_name, values.tolist()))


def _class_name(value: str | float) -> str:
    return str(int(value)) if isinstance(value, int | float) and value == int(value) else str(value)
