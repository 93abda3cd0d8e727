"""Data sets: what a spec's `data:` names, read once per process and shared, read only, by its trials.

Kinds of data:

    sunspots   monthly mean sunspot numbers 1749–1983, shipped with the package (datasets/README.md)
    channel    a nonlinear channel driven by Gaussian noise; options `samples` (10,000) and `seed` (0)
    csv        one column of the user's file; options `path` and `column` (0-based number, or a header's name)
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from optml_queue.errors import DataError

if TYPE_CHECKING:  # NumPy is imported when data are, not when a spec is read
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

KINDS = ("sunspots", "channel", "csv")
TEST_FRACTION = 0.1
CHANNEL_SAMPLES = 10_000
MIN_ROWS = 10

_SUNSPOTS = Path(__file__).parent / "datasets" / "sunspots.csv"
_CACHED_SERIES = 8
_SNIFFED_LINES = 100
# A tie goes to the first: the comma is the decimal mark in many files that separate fields by another sign.
_DELIMITERS = (";", "\t", "|", ",")

Row = tuple[int, list[str]]  # the line a row ends on, counted from 1, and its fields


@dataclass(frozen=True, slots=True)
class DataSpec:
    """A data set as a spec names it.

    `test` is the fraction at the end of the series that is kept for the test. `digest` is the SHA-256 of a
    csv file's content, "" for the other kinds and as long as the file was not read.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    test: float = TEST_FRACTION
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "options": dict(self.options), "test": self.test, "digest": self.digest}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DataSpec:
        return cls(**fields)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A loaded series, the same object for every trial of a process, so that drivers may cache by it.

    `values` are (n,) float64, contiguous and read only. `digest` is the SHA-256 of the file that they were
    read from, or of the generated values (little-endian float64).
    """

    values: Floats
    test: float
    digest: str

    def parts(self) -> tuple[Floats, Floats]:
        """The part to train on and the part to test on, the last ⌊n × test⌋ values; views, read only."""
        # The small addition keeps 100 × 0.29 from being 28.
        first_test = len(self.values) - math.floor(len(self.values) * self.test + 1e-9)
        return self.values[:first_test], self.values[first_test:]


_cache: OrderedDict[str, Series] = OrderedDict()
_cache_lock = Lock()


def load(spec: DataSpec, fetch: Callable[[str], Path] | None = None) -> Series:
    """The series of a spec, from this process's cache when it is there.

    `fetch` gets the file with a digest from the archive; without it, a csv is read from its path.
    Raises DataError when the data cannot be read, or are not what they were at submission.
    """
    with _cache_lock:  # held while loading: two threads asking at once read a file once
        key = _key(spec)
        if key not in _cache and spec.kind == "csv":
            # By the digest found: a file named without its digest is read again only when it has changed.
            path, spec = _csv_file(spec, fetch)
            key = _key(spec)
            return _cached(key) if key in _cache else _kept(key, _csv_series(path, spec))
        return _cached(key) if key in _cache else _kept(key, _named_series(spec))


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def channel(samples: int = CHANNEL_SAMPLES, seed: int = 0) -> Floats:
    """A nonlinear channel's output for standard normal input; (samples,) float64.

    y = input with one 0 appended; t[n] = −0.8 y[n] + 0.7 y[n+1]; q = t + 0.25 t² + 0.11 t³.
    """
    import numpy as np

    y = np.append(np.random.default_rng(seed).standard_normal(samples), 0.0)
    t = -0.8 * y[:-1] + 0.7 * y[1:]
    return np.asarray(t + 0.25 * t**2 + 0.11 * t**3, dtype=np.float64)


def read_csv_column(path: Path, column: int | str) -> Floats:
    """One column of a text file as (n,) float64, n ≥ 10, all finite.

    The fields may be separated by comma, semicolon, tab, bar or white space. A first row whose field is no
    number is a header. Raises DataError, which names file, line and value, for anything else.
    """
    import numpy as np

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            values = _column(path, file, column)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(values) < MIN_ROWS:
        raise DataError(f"{path}: too few rows: {len(values)} values, a series needs at least {MIN_ROWS}")
    return np.frombuffer(values, dtype=np.float64)


def _key(spec: DataSpec) -> str:
    return json.dumps(spec.to_dict(), sort_keys=True)


def _cached(key: str) -> Series:
    _cache.move_to_end(key)
    return _cache[key]


def _kept(key: str, series: Series) -> Series:
    _cache[key] = series
    while len(_cache) > _CACHED_SERIES:
        _cache.popitem(last=False)
    return series


def _csv_file(spec: DataSpec, fetch: Callable[[str], Path] | None) -> tuple[Path, DataSpec]:
    """Where the csv of a spec lies on this machine, and the spec with its digest."""
    if fetch is not None and spec.digest:
        return fetch(spec.digest), spec
    path = Path(spec.options["path"])
    digest = file_digest(path)
    if spec.digest and digest != spec.digest:
        raise DataError(f"{path}: its content changed since the experiment was submitted; submit it again")
    return path, replace(spec, digest=digest)


def _csv_series(path: Path, spec: DataSpec) -> Series:
    return _series(read_csv_column(path, spec.options["column"]), spec.test, spec.digest)


def _named_series(spec: DataSpec) -> Series:
    if spec.kind == "sunspots":
        return _series(read_csv_column(_SUNSPOTS, "sunspots"), spec.test, file_digest(_SUNSPOTS))
    if spec.kind == "channel":
        values = channel(**spec.options)
        return _series(values, spec.test, hashlib.sha256(values.astype("<f8").tobytes()).hexdigest())
    raise DataError(f"unknown kind of data {spec.kind!r}; known are {', '.join(KINDS)}")


def _series(values: Floats, test: float, digest: str) -> Series:
    values.flags.writeable = False
    return Series(values, test, digest)


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file; a relative path counts from the spec's folder")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder, not a file")
    return DataError(f"{path}: cannot be read: {error.strerror}")


def _column(path: Path, file: TextIO, column: int | str) -> array[float]:
    rows = _rows(path, file)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    index = _index_of(path, first, column)
    if not _is_header(first, index):
        rows = chain([first], rows)
    values = array("d")
    for line, row in rows:
        try:
            value = float(row[index])
        except (ValueError, IndexError):
            value = math.nan
        if value - value != 0.0:  # nan or infinite
            if not row and _only_blank(rows):
                break
            raise _bad_field(path, line, row, index, column)
        values.append(value)
    return values


def _rows(path: Path, file: TextIO) -> Iterator[Row]:
    """The rows of a file with their lines; an empty line is a row without fields."""
    head = list(islice(file, _SNIFFED_LINES))
    if any("\0" in line for line in head):
        raise DataError(f"{path}: not a text file (it has NUL bytes); save it as CSV in UTF-8")
    delimiter = _delimiter(head)
    lines = chain(head, file)
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, start=1))
        return
    reader = csv.reader(lines, delimiter=delimiter)
    for row in reader:
        yield reader.line_num, row


def _delimiter(lines: Iterable[str]) -> str | None:
    """The delimiter under which most lines fall into the same number of fields; None for white space."""
    lines = [line for line in lines if line.strip()]
    agreeing = {delimiter: _agreeing(lines, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: agreeing[delimiter])
    return best if 2 * agreeing[best] > len(lines) else None


def _agreeing(lines: list[str], delimiter: str) -> int:
    widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
    several = [width for width in widths if width > 1]
    return max((several.count(width) for width in set(several)), default=0)


def _index_of(path: Path, first: Row, column: int | str) -> int:
    if isinstance(column, int):
        if column < 0:
            raise DataError(f"{path}: no column {column}: columns count from 0")
        return column
    names = [name.strip() for name in first[1]]
    if column in names:
        return names.index(column)
    near = get_close_matches(column, names, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"the first row has {', '.join(map(repr, names))}"
    raise DataError(f"{path}:{first[0]}: no column is called {column!r}; {advice}")


def _is_header(first: Row, index: int) -> bool:
    fields = first[1]
    if index >= len(fields) or _is_number(fields[index]):
        return False
    # An empty field among numbers is a gap in the data; among names it is the header of the row names.
    return bool(fields[index].strip()) or not any(map(_is_number, fields))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _only_blank(rows: Iterator[Row]) -> bool:
    return not any(fields for _line, fields in rows)


def _bad_field(path: Path, line: int, row: list[str], index: int, column: int | str) -> DataError:
    where = f"{path}:{line}"
    if not row:
        return DataError(f"{where}: the line is empty; a series may not have gaps")
    if index >= len(row):
        return DataError(f"{where}: the row has {len(row)} fields and no column {column} (the first is 0)")
    text = row[index].strip()
    if not text:
        return DataError(f"{where}: column {column} is empty; a series may not have gaps")
    if _is_number(text):
        return DataError(f"{where}: column {column} is {text}; a series needs finite numbers")
    if _is_number(text.replace(",", ".", 1)):
        return DataError(f"{where}: column {column} is {text!r}; write a decimal point instead of the comma")
    return DataError(f"{where}: column {column} is {text[:80]!r}, which is not a number")
