"""Trials as tables for other programs: CSV, JSON lines, Parquet. All of them stream, in constant memory.

A row is one trial: `number, seed, state`, each parameter under its own name, each metric under its own name,
then `reason, error, attempts, worker, queued_at, started_at, finished_at, wait_s, run_s, reused_from`. Times are UTC.
"""

from __future__ import annotations

import csv
import io
import marshal
import struct
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, BinaryIO, TextIO, cast

from optml_queue.driver import LEADING_COLUMNS, TRAILING_COLUMNS
from optml_queue.errors import InputError
from optml_queue.trial import REUSED_FROM, ParamValue, Trial, TrialState, between, encode

_TIMES = frozenset({"queued_at", "started_at", "finished_at"})
_ROW_GROUP = 10_000
_SPOOLED = 1_000  # trials written to the disk at once
_LENGTH = struct.Struct("<Q")
_LEADING, _TRAILING = attrgetter(*LEADING_COLUMNS), attrgetter(*TRAILING_COLUMNS)
_FIELDS = tuple(each.name for each in fields(Trial))
_RECORD = attrgetter(*("state.value" if name == "state" else name for name in _FIELDS))
_SPELLED = frozenset({bool, list})  # whose text in a table is not Python's
_STATE = _FIELDS.index("state")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one experiment's table, in order."""

    parameters: tuple[str, ...]
    metrics: tuple[str, ...]

    @property
    def header(self) -> tuple[str, ...]:
        return (*LEADING_COLUMNS, *self.parameters, *self.metrics, *TRAILING_COLUMNS)

    def values(self, trial: Trial) -> list[Any]:
        """The trial's values in the order of `header`; None where it has none."""
        return [
            *_LEADING(trial),
            *map(trial.params.get, self.parameters),
            *map(trial.metrics.get, self.metrics),
            *_TRAILING(trial),
        ]


class Spool:
    """Trials on the disk: read once from where they come, then as often as a table needs.

    A table's columns, and their types, are only known once every trial was seen. `parameters` and `metrics`
    are columns that come first whether a trial has them or not. The file goes when the spool is closed.
    """

    def __init__(self, trials: Iterable[Trial], parameters: Iterable[str] = (), metrics: Iterable[str] = ()) -> None:
        self._kinds: defaultdict[str, set[type]] = defaultdict(set)
        self._metrics = dict.fromkeys(metrics)
        for name in parameters:
            self._kinds[name] = set()
        self.file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 -- `close` closes it
        remaining = iter(trials)
        try:
            while batch := list(islice(remaining, _SPOOLED)):
                self._add(batch)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Trial]:
        """The trials in the order they came in. One reader at a time."""
        for record in self.records():
            record[_STATE] = TrialState(record[_STATE])
            yield Trial(*record)

    def records(self) -> Iterator[list[Any]]:
        """The fields of each trial in their order, the state as its text: a third of the time that trials take."""
        self.file.seek(0)
        while length := self.file.read(_LENGTH.size):
            yield from marshal.loads(self.file.read(*_LENGTH.unpack(length)))  # noqa: S302 -- our own file

    @property
    def columns(self) -> Columns:
        return Columns(tuple(self._kinds), tuple(self._metrics))

    def kinds(self, parameter: str) -> frozenset[type]:
        """The types of the values that this parameter takes."""
        return frozenset(self._kinds[parameter])

    def close(self) -> None:
        self.file.close()

    def _add(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            for name, value in trial.params.items():
                self._kinds[name].add(type(value))
            self._metrics.update(dict.fromkeys(trial.metrics))
        # Python's own form of plain values: a tenth of the time that JSON takes.
        text = marshal.dumps([list(_RECORD(trial)) for trial in trials])
        self.file.write(_LENGTH.pack(len(text)) + text)


def write_csv(spool: Spool, out: BinaryIO) -> None:
    """CSV in UTF-8 with a header, lines ending in a line feed; every float reads back to the same bits."""
    columns = spool.columns
    with _text(out) as text:
        writer = csv.writer(_LineFeeds(text), lineterminator="\r\n")
        writer.writerow(columns.header)
        writer.writerows(_rows(spool, columns))


def _rows(spool: Spool, columns: Columns) -> Iterator[list[Any]]:
    """The cells of each trial, as `Columns.values` has them, for a csv writer.

    It has its own, quicker way with most values, and the same one: see `cell`.
    """
    spelled = [name for name in columns.parameters if spool.kinds(name) & _SPELLED]
    for record in spool.records():
        number, state, params, seed, metrics, reason, error, attempts, worker, queued, started, finished, origin = (
            record
        )
        for name in spelled:
            if type(params.get(name)) in _SPELLED:
                params[name] = cell(params[name])
        yield [
            number,
            seed,
            state,
            *map(params.get, columns.parameters),
            *map(metrics.get, columns.metrics),
            reason,
            error,
            attempts,
            worker,
            utc(queued),
            utc(started),
            utc(finished),
            between(queued, started),
            between(started, finished),
            origin.get(REUSED_FROM, ""),
        ]


def write_jsonl(spool: Spool, out: BinaryIO) -> None:
    """One JSON object a line, as `Trial.to_json` writes it; times are seconds since the epoch."""
    out.writelines(trial.to_json().encode() + b"\n" for trial in spool)


def write_parquet(spool: Spool, out: BinaryIO) -> None:
    """Parquet, a row group for each 10,000 trials. Raises InputError when pyarrow is not installed.

    A parameter is a column of booleans, integers, floats or text; lists are JSON, and so are mixtures.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet needs the package pyarrow, which is not installed: pip install 'optml-queue[parquet]'"
        ) from None
    columns = spool.columns
    schema = pyarrow.schema(_parquet_fields(pyarrow, spool))
    trials = iter(spool)
    with parquet.ParquetWriter(out, schema) as writer:
        while rows := [columns.values(trial) for trial in islice(trials, _ROW_GROUP)]:
            arrays = [
                pyarrow.array([_CONVERSIONS[str(field.type)](value) for value in values], field.type)
                for field, values in zip(schema, zip(*rows, strict=True), strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


FORMATS: dict[str, Callable[[Spool, BinaryIO], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def export(
    trials: Iterable[Trial],
    form: str,
    out: BinaryIO,
    parameters: Iterable[str] = (),
    metrics: Iterable[str] = (),
) -> None:
    """Write a table of trials in one of FORMATS. Raises InputError for any other.

    `parameters` and `metrics` put columns into an order and keep them when no trial has them; others follow.
    """
    if form not in FORMATS:
        raise InputError(f"no export format {form!r}; choose one of {', '.join(FORMATS)}")
    with Spool(trials, parameters, metrics) as spool:
        FORMATS[form](spool, out)


def utc(time_s: float | None) -> str | None:
    """Seconds since the epoch as `2026-11-24T13:05:09.123Z`."""
    if time_s is None:
        return None
    second, ms = divmod(round(time_s * 1000), 1000)
    return f"{_second(second)}.{ms:03}Z"


@lru_cache(maxsize=1024)
def _second(time_s: int) -> str:
    # Trials that run side by side share their seconds.
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def cell(value: ParamValue | None) -> str:
    """A value as a table shows it: floats with all their digits, lists as JSON, None as nothing."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return str(value)
        case list():
            return encode(value)
        case _:
            return repr(value)


def _parquet_fields(pyarrow: Any, spool: Spool) -> Iterator[tuple[str, Any]]:
    time = pyarrow.timestamp("ms", tz="UTC")
    types = dict.fromkeys(_TIMES, time) | dict.fromkeys(("number", "seed", "attempts"), pyarrow.int64())
    types |= dict.fromkeys((*spool.columns.metrics, "wait_s", "run_s"), pyarrow.float64())
    by_kinds = {
        frozenset({bool}): pyarrow.bool_(),
        frozenset({int}): pyarrow.int64(),
        frozenset({float}): pyarrow.float64(),
        frozenset({int, float}): pyarrow.float64(),
    }
    for name in spool.columns.parameters:
        types[name] = by_kinds.get(spool.kinds(name), pyarrow.string())
    for name in spool.columns.header:
        yield name, types.get(name, pyarrow.string())


def _unless_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool": _unless_none(bool),
    "int64": _unless_none(int),
    "double": _unless_none(float),
    "string": _unless_none(cell),
    "timestamp[ms, tz=UTC]": _unless_none(lambda time_s: round(time_s * 1000)),
}


class _LineFeeds:
    """Ends rows in a line feed; csv must think they end in CR LF, or it would not quote a bare CR."""

    def __init__(self, text: TextIO) -> None:
        self._text = text

    def write(self, row: str) -> None:
        self._text.write(row.removesuffix("\r\n") + "\n")


@contextmanager
def _text(out: BinaryIO) -> Iterator[TextIO]:
    """Write UTF-8 text to a binary file, and leave that file open."""
    text = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="")
    try:
        yield text
    finally:
        text.detach()
