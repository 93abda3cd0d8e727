"""Series: one value after another, the end of them kept for the test."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from optml_queue.data.dataspec import CHANNEL_SAMPLES, MIN_ROWS
from optml_queue.data.delimited import Row, field_problem, index_of, is_number, only_blank, opened_rows
from optml_queue.data.file import file_digest
from optml_queue.errors import DataError

if TYPE_CHECKING:  # NumPy is imported when data are, not when a spec is read
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_SUNSPOTS = Path(__file__).parents[1] / "datasets" / "sunspots.csv"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A loaded series, the same object for every trial of a process, so that drivers may cache by it.

    `values` are (n,) float64, contiguous and read only. `digest` is the SHA-256 of the file that they were
    read from, or of the generated values (little-endian float64).
    """

    values: Floats
    test: float
    digest: str

    @property
    def rows(self) -> int:
        """The number of values."""
        return len(self.values)

    def parts(self) -> tuple[Floats, Floats]:
        """The part to train on and the part to test on, the last ⌊n × test⌋ values; views, read only."""
        first_test = len(self.values) - rows_of(self.test, len(self.values))
        return self.values[:first_test], self.values[first_test:]

    def check_filter_size(self, filter_size: int) -> None:
        """Raise DataError unless a filter of that many previous values has something to predict in both parts."""
        for name, part in zip(("training", "test"), self.parts(), strict=True):
            if len(part) <= filter_size:
                raise DataError(
                    f"filter_size {filter_size} is too long: the {name} part of the data has {len(part)} values, "
                    "and must have more than filter_size"
                )


def rows_of(fraction: float, rows: int) -> int:
    """⌊rows × fraction⌋."""
    # The small addition keeps 100 × 0.29 from being 28.
    return math.floor(rows * fraction + 1e-9)


def channel(samples: int = CHANNEL_SAMPLES, seed: int = 0) -> Floats:
    """A nonlinear channel's output for standard normal input; (samples,) float64.

    y = input with one 0 appended; t[n] = −0.8 y[n] + 0.7 y[n+1]; q = t + 0.25 t² + 0.11 t³.
    """
    import numpy as np

    y = np.append(np.random.default_rng(seed).standard_normal(samples), 0.0)
    t = -0.8 * y[:-1] + 0.7 * y[1:]
    return np.asarray(t + 0.25 * t**2 + 0.11 * t**3, dtype=np.float64)


def channel_series(test: float, samples: int = CHANNEL_SAMPLES, seed: int = 0) -> Series:
    """The channel's output as a series."""
    values = channel(samples, seed)
    return _series(values, test, hashlib.sha256(values.astype("<f8").tobytes()).hexdigest())


def sunspot_series(test: float) -> Series:
    """The sunspot numbers that ship with the package."""
    return csv_series(_SUNSPOTS, "sunspots", test, file_digest(_SUNSPOTS))


def csv_series(path: Path, column: int | str, test: float, digest: str) -> Series:
    """One column of a file as a series; `digest` is the file's. Raises DataError."""
    return _series(read_csv_column(path, column), test, digest)


def read_csv_column(path: Path, column: int | str) -> Floats:
    """One column of a text file as (n,) float64, n ≥ 10, all finite.

    The fields may be separated by comma, semicolon, tab, bar or white space. A first row whose field is no
    number is a header. Raises DataError, which names file, line and value, for anything else.
    """
    import numpy as np

    with opened_rows(path) as rows:
        values = _column(path, rows, column)
    if len(values) < MIN_ROWS:
        raise DataError(f"{path}: too few rows: {len(values)} values, a series needs at least {MIN_ROWS}")
    return np.frombuffer(values, dtype=np.float64)


def _series(values: Floats, test: float, digest: str) -> Series:
    values.flags.writeable = False
    return Series(values, test, digest)


def _column(path: Path, rows: Iterator[Row], column: int | str) -> array[float]:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    index = index_of(path, first, column)
    if not _is_header(first, index):
        rows = chain([first], rows)
    values = array("d")
    for line, row in rows:
        try:
            value = float(row[index])
        except (ValueError, IndexError):
            value = math.nan
        if value - value != 0.0:  # nan or infinite
            if not row and only_blank(rows):
                break
            raise _bad_field(path, line, row, index, column)
        values.append(value)
    return values


def _is_header(first: Row, index: int) -> bool:
    fields = first[1]
    if index >= len(fields) or is_number(fields[index]):
        return False
    # An empty field among numbers is a gap in the data; among names it is the header of the row names.
    return bool(fields[index].strip()) or not any(map(is_number, fields))


def _bad_field(path: Path, line: int, row: list[str], index: int, column: int | str) -> DataError:
    where = f"{path}:{line}"
    if not row:
        return DataError(f"{where}: the line is empty; a series may not have gaps")
    if index >= len(row):
        return DataError(f"{where}: the row has {len(row)} fields and no column {column} (the first is 0)")
    return DataError(f"{where}: column {column} {field_problem(row[index], 'series')}")
