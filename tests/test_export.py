"""Tables of trials: what is written reads back the same."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from optml_queue.errors import InputError
from optml_queue.export import Columns, Spool, cell, export, utc
from optml_queue.trial import Params, ParamValue, Trial, TrialState

FULL = Trial(
    number=3,
    state=TrialState.COMPLETE,
    params={"rate": 1e-06, "sizes": [32, 64], "name": "a,b", "fast": True, "taps": 5},
    seed=7,
    metrics={"nmse": 0.1 + 0.2, "mse": 12.0},
    attempts=1,
    worker="host/1",
    queued_at=1_700_000_000.123,
    started_at=1_700_000_001.123,
    finished_at=1_700_000_003.623,
)
BARE = Trial(number=4, state=TrialState.QUEUED, params={"rate": 0.5}, seed=0)


def table(*trials: Trial) -> list[dict[str, str]]:
    out = io.BytesIO()
    export(trials, "csv", out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def test_a_row_has_the_promised_columns_in_order() -> None:
    out = io.BytesIO()
    export([FULL, BARE], "csv", out, parameters=["taps", "rate"], metrics=["nmse"])
    lines = out.getvalue().decode().splitlines()
    assert lines[0] == (
        "number,seed,state,taps,rate,sizes,name,fast,nmse,mse,"
        "reason,error,attempts,worker,queued_at,started_at,finished_at,wait_s,run_s,reused_from"
    )
    assert lines[1] == (
        '3,7,complete,5,1e-06,"[32,64]","a,b",true,0.30000000000000004,12.0,,,1,host/1,'
        "2023-11-14T22:13:20.123Z,2023-11-14T22:13:21.123Z,2023-11-14T22:13:23.623Z,1.0,2.5,"
    )
    assert lines[2] == "4,0,queued,,0.5,,,,,,,,0,,,,,,,"
    assert table(replace(BARE, origin={"reused_from": "lms-k3f9a/17"}))[0]["reused_from"] == "lms-k3f9a/17"


def test_columns_asked_for_are_there_without_any_trial() -> None:
    out = io.BytesIO()
    export([], "csv", out, parameters=["rate"], metrics=["nmse"])
    header = out.getvalue().decode()
    assert header.startswith("number,seed,state,rate,nmse,reason,")
    assert header.count("\n") == 1


def test_non_finite_metrics_are_named() -> None:
    diverged = replace(BARE, state=TrialState.DIVERGED, metrics={"nmse": math.nan, "mse": math.inf})
    (row,) = table(diverged)
    assert (row["nmse"], row["mse"]) == ("nan", "inf")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(texts, texts, st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1))
def test_any_text_and_number_reads_back_from_csv(error: str, worker: str, value: float, count: int) -> None:
    given_trial = replace(BARE, error=error, worker=worker, params={"x": value, "n": count}, metrics={"nmse": value})
    (row,) = table(given_trial)
    assert (row["error"], row["worker"]) == (error, worker)
    assert float(row["x"]).hex() == value.hex()
    assert int(row["n"]) == count
    assert float(row["nmse"]).hex() == value.hex()


values = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(), texts, st.lists(st.integers(0, 9), max_size=2))
times = st.none() | st.floats(0, 2e9)


@given(
    st.lists(
        st.builds(
            Trial,
            number=st.integers(0, 9),
            state=st.sampled_from(TrialState),
            params=st.dictionaries(st.sampled_from("abc"), values),
            seed=st.integers(0, 9),
            metrics=st.dictionaries(st.sampled_from("xy"), st.floats()),
            reason=texts,
            queued_at=times,
            started_at=times,
            finished_at=times,
            origin=st.just({"method": "tpe", "seen": 3}),
        ),
        max_size=3,
    )
)
def test_every_cell_of_a_csv_is_the_value_of_its_column(trials: list[Trial]) -> None:
    with Spool(iter(trials)) as spool:
        columns = spool.columns
    expected = [dict(zip(columns.header, columns.values(trial), strict=True)) for trial in trials]
    stamped = [row | {name: utc(row[name]) for name in row if name.endswith("_at")} for row in expected]
    assert table(*trials) == [{name: cell(value) for name, value in row.items()} for row in stamped]


def test_lines_end_in_a_line_feed_alone_and_quoted_ones_stay() -> None:
    out = io.BytesIO()
    export([replace(BARE, error="a\r\nb\rc\nd")], "csv", out)
    body = out.getvalue()
    assert b'"a\r\nb\rc\nd"' in body
    assert b"\r\n" not in body.replace(b"a\r\nb", b"")
    assert not out.closed


def test_json_lines_are_trials() -> None:
    out = io.BytesIO()
    export([FULL, BARE], "jsonl", out)
    assert [Trial.from_json(line) for line in out.getvalue().splitlines()] == [FULL, BARE]
    assert json.loads(out.getvalue().splitlines()[0])["params"]["rate"] == 1e-06


def test_parquet_keeps_types_and_every_bit() -> None:
    out = io.BytesIO()
    diverged = replace(FULL, number=5, state=TrialState.DIVERGED, metrics={"nmse": math.inf})
    export([FULL, BARE, diverged], "parquet", out)
    rows = parquet.read_table(io.BytesIO(out.getvalue()))
    types = {field.name: str(field.type) for field in rows.schema}
    assert types["rate"] == "double"
    assert types["taps"] == "int64"
    assert types["fast"] == "bool"
    assert types["name"] == types["sizes"] == types["state"] == "string"
    assert types["queued_at"] == "timestamp[ms, tz=UTC]"
    first, second, third = rows.to_pylist()
    assert first["nmse"] == 0.1 + 0.2
    assert first["sizes"] == "[32,64]"
    assert first["finished_at"] == datetime(2023, 11, 14, 22, 13, 23, 623_000, UTC)
    assert (second["taps"], second["nmse"], second["queued_at"]) == (None, None, None)
    assert third["nmse"] == math.inf
    assert third["mse"] is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [((1, 2.5), "double"), ((1, "a"), "string"), ((True, 1), "string"), ((True, False), "bool")],
)
def test_a_parquet_column_takes_mixed_parameters(values: tuple[float | str, ...], kind: str) -> None:
    out = io.BytesIO()
    params: list[Params] = [{"x": value} for value in values]
    export([replace(BARE, params=each) for each in params], "parquet", out)
    assert str(parquet.read_table(io.BytesIO(out.getvalue())).schema.field("x").type) == kind


def test_parquet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=re.escape("pip install 'optml-queue[parquet]'")):
        export([FULL], "parquet", io.BytesIO())


def test_an_unknown_format_lists_the_known() -> None:
    with pytest.raises(InputError, match="'xlsx'; choose one of csv, jsonl, parquet"):
        export([FULL], "xlsx", io.BytesIO())


def test_a_spool_can_be_read_again_and_knows_its_columns() -> None:
    with Spool(iter([FULL, BARE])) as spool:
        assert list(spool) == [FULL, BARE]
        assert list(spool) == [FULL, BARE]
        assert spool.columns == Columns(("rate", "sizes", "name", "fast", "taps"), ("nmse", "mse"))
        assert spool.kinds("rate") == {float}
    assert spool.file.closed


def test_times_round_to_the_nearest_millisecond() -> None:
    assert utc(1.9999) == "1970-01-01T00:00:02.000Z"
    assert utc(0.0) == "1970-01-01T00:00:00.000Z"
    assert utc(None) is None


def test_cells() -> None:
    values: list[ParamValue | None] = [None, True, 3, 1e-7, "a", [1, [2.5]]]
    assert [cell(value) for value in values] == ["", "true", "3", "1e-07", "a", "[1,[2.5]]"]
