"""Text files of rows and columns: their delimiter, their header, and messages about their fields."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from optml_queue.data.file import unreadable
from optml_queue.errors import DataError

Row = tuple[int, list[str]]  # the line a row ends on, counted from 1, and its fields

_SNIFFED_LINES = 100
# A tie goes to the first: the comma is the decimal mark in many files that separate fields by another sign.
_DELIMITERS = (";", "\t", "|", ",")


@contextmanager
def opened_rows(path: Path) -> Iterator[Iterator[Row]]:
    """The rows of a file with their lines; an empty line is a row without fields.

    The fields may be separated by comma, semicolon, tab, bar or white space. Raises DataError for what cannot be
    read as such.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield _rows(path, file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _rows(path: Path, file: TextIO) -> Iterator[Row]:
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


def index_of(path: Path, first: Row, column: int | str) -> int:
    """The index of a column named in the first row. Raises DataError, with a suggestion, when there is none."""
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


def is_number(text: str) -> bool:
    """Whether a field holds a number; so do nan and inf."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def only_blank(rows: Iterator[Row]) -> bool:
    """Whether nothing but empty lines is left."""
    return not any(fields for _line, fields in rows)


def field_problem(text: str, noun: str) -> str:
    """Why a field is not a finite number, as the end of a sentence that begins with its column."""
    text = text.strip()
    if not text:
        return f"is empty; a {noun} may not have gaps"
    if is_number(text):
        return f"is {text}; a {noun} needs finite numbers"
    if is_number(text.replace(",", ".", 1)):
        return f"is {text!r}; write a decimal point instead of the comma"
    return f"is {text[:80]!r}, which is not a number"
