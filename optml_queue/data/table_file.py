"""Tables out of text files: columns of numbers, columns of categories, and one column that is the target."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optml_queue.data.delimited import Row, field_problem, index_of, is_number, only_blank, opened_rows
from optml_queue.data.source import MAX_CLASSES, ColumnRows, Source
from optml_queue.errors import DataError

_SAMPLED_ROWS = 100
_LARGEST = float(np.finfo(np.float32).max)


class _Numbers:
    """A column of numbers as it is read."""

    def __init__(self) -> None:
        self.values = array("d")

    def add(self, text: str) -> str:
        """Take the next field; returns why it cannot be taken, "" when it was."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -_LARGEST <= value <= _LARGEST:
            return (
                f"is {text}, too large for single precision" if math.isfinite(value) else field_problem(text, "table")
            )
        self.values.append(value)
        return ""

    def column(self) -> tuple[npt.NDArray[Any], int]:
        return np.frombuffer(self.values, dtype=np.float64), 0

    def target(self) -> npt.NDArray[Any]:
        return self.column()[0]


class _Categories:
    """A column of text as it is read: the number of each field's category, counted in order of appearance."""

    def __init__(self) -> None:
        self._codes = array("q")
        self._numbers: dict[str, int] = {}

    def add(self, text: str) -> str:
        """Take the next field; returns why it cannot be taken, "" when it was."""
        text = text.strip()
        if not text:
            return "is empty; a table may not have gaps"
        if text not in self._numbers and len(self._numbers) == MAX_CLASSES:
            return f"is {text[:80]!r}, one text too many: a column of text may have {MAX_CLASSES:,} different ones"
        self._codes.append(self._numbers.setdefault(text, len(self._numbers)))
        return ""

    def column(self) -> tuple[npt.NDArray[Any], int]:
        """The codes by the categories' alphabetical order, and how many there are."""
        places = {text: place for place, text in enumerate(sorted(self._numbers))}
        codes = np.array([places[text] for text in self._numbers], dtype=np.int64)
        return codes[np.frombuffer(self._codes, dtype=np.int64)], len(places)

    def target(self) -> npt.NDArray[Any]:
        return np.array(list(self._numbers))[np.frombuffer(self._codes, dtype=np.int64)]


_Column = _Numbers | _Categories


def read(path: Path, target: int | str) -> Source:
    """The rows of a text file; `target` is a column's name in the first row, or its number, counted from 0.

    The first row holds names when `target` is a name, or when no field of it is a number and its target does not
    come again. A column is of numbers when most of its first hundred fields are. A column without a name is taken
    for the names of the rows, and left out. Raises DataError, naming file, line and value, for gaps, for text
    among numbers, and for rows of different lengths.
    """
    with opened_rows(path) as rows:
        first = next(rows, None)
        if first is None or not first[1]:
            raise DataError(f"{path}: the file is empty" if first is None else f"{path}:{first[0]}: the line is empty")
        index = index_of(path, first, target)
        width = len(first[1])
        if index >= width:
            raise DataError(f"{path}:{first[0]}: the row has {width} fields and no column {target} (the first is 0)")
        sample = list(islice(rows, _SAMPLED_ROWS))
        names = _names(first, sample, index, named=isinstance(target, str))
        sample = sample if names else [first, *sample]
        columns = [_Numbers() if _is_numeric(sample, place) else _Categories() for place in range(width)]
        labels = names or [str(place) for place in range(width)]
        labels[index] = labels[index] or str(target)  # a target has a place even when it has no name
        _fill(path, chain(sample, rows), columns, labels)
    kept = [place for place in range(width) if place != index and labels[place]]
    return _source(path, columns, index, kept)


def _names(first: Row, sample: Sequence[Row], index: int, *, named: bool) -> list[str]:
    """The names of the columns; [] when the first row is a row like the others."""
    fields = [field.strip() for field in first[1]]
    comes_again = any(len(row) > index and row[index].strip() == fields[index] for _line, row in sample)
    return fields if named or not (comes_again or any(map(is_number, fields))) else []


def _is_numeric(sample: Sequence[Row], place: int) -> bool:
    fields = [row[place] for _line, row in sample if place < len(row) and row[place].strip()]
    return 2 * sum(map(is_number, fields)) > len(fields)


def _fill(path: Path, rows: Iterator[Row], columns: Sequence[_Column], labels: Sequence[str]) -> None:
    width = len(columns)
    for line, row in rows:
        if not row and only_blank(rows):
            return
        if len(row) != width:
            what = f"has {len(row)} fields, the first row {width}" if row else "is empty"
            raise DataError(f"{path}:{line}: the line {what}")
        for column, label, text in zip(columns, labels, row, strict=True):
            if label and (problem := column.add(text)):
                raise DataError(f"{path}:{line}: column {label} {problem}")


def _source(path: Path, columns: Sequence[_Column], index: int, kept: Sequence[int]) -> Source:
    targets = columns[index].target()
    if not len(targets):
        raise DataError(f"{path}: there are no rows below the names of the columns")
    if not kept:
        raise DataError(f"{path}: there is no column beside the target")
    inputs = [columns[place].column() for place in kept]
    scaled = np.concatenate([np.full(categories or 1, not categories) for _values, categories in inputs])
    return Source(ColumnRows(inputs), targets, scaled=scaled)
