"""Data sets: the shipped series, the channel, and files of users, good and bad."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue import data
from optml_queue.data import DataSpec, Series, channel, file_digest, loading, read_csv_column
from optml_queue.errors import DataError
from tests.datasets import series as series_of

VALUES = [1.5, -2.0, 3e-4, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.25, 11.0, 12.0]


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_cache", type(loading._cache)())


def written(folder: Path, text: str | bytes, name: str = "series.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(separator: str = ",", header: str = "", values: list[float] = VALUES) -> str:
    rows = [f"{index}{separator}{value!r}{separator}x" for index, value in enumerate(values)]
    return "\n".join([header, *rows] if header else rows) + "\n"


class TestNamedData:
    def test_the_sunspot_series_is_the_classic_one(self) -> None:
        series = series_of(DataSpec("sunspots"))
        assert len(series.values) == 2820
        assert series.values[:3].tolist() == [58.0, 62.6, 70.0]  # January to March 1749
        assert series.values[-2:].tolist() == [33.3, 33.4]  # November and December 1983
        assert series.values.max() == 253.8  # October 1957, the highest month on record
        assert series.values.min() == 0.0

    def test_every_month_of_the_sunspot_file_follows_the_one_before(self) -> None:
        path = Path(data.__file__).parents[1] / "datasets" / "sunspots.csv"
        months = read_csv_column(path, "year") * 12 + read_csv_column(path, "month") - 1
        assert months.tolist() == list(range(1749 * 12, 1984 * 12))

    def test_the_channel_follows_its_formulas(self) -> None:
        y = [*np.random.default_rng(3).standard_normal(20).tolist(), 0.0]
        expected = []
        for n in range(20):
            t = -0.8 * y[n] + 0.7 * y[n + 1]
            expected.append(t + 0.25 * t * t + 0.11 * t * t * t)
        assert channel(20, 3).tolist() == pytest.approx(expected, rel=1e-12)

    def test_the_channel_has_ten_thousand_samples_unless_told_otherwise(self) -> None:
        assert len(series_of(DataSpec("channel")).values) == 10_000
        series = series_of(DataSpec("channel", {"samples": 50, "seed": 1}))
        assert series.values.tolist() == channel(50, 1).tolist()
        assert series.values[0] != series_of(DataSpec("channel", {"samples": 50, "seed": 2})).values[0]

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(DataError, match="unknown kind of data 'stocks'; known are sunspots, channel, csv"):
            series_of(DataSpec("stocks"))


class TestSeries:
    @pytest.mark.parametrize(
        ("rows", "fraction", "test_rows"), [(3229, 0.1, 322), (2820, 0.1, 282), (100, 0.29, 29), (10, 0.25, 2)]
    )
    def test_the_test_part_is_the_end_rounded_down(self, rows: int, fraction: float, test_rows: int) -> None:
        train_part, test_part = Series(np.arange(rows, dtype=np.float64), fraction, "").parts()
        assert len(test_part) == test_rows
        assert np.concatenate([train_part, test_part]).tolist() == list(range(rows))

    def test_nobody_can_change_what_all_trials_share(self, tmp_path: Path) -> None:
        path = written(tmp_path, table())
        for spec in (DataSpec("sunspots"), DataSpec("channel"), DataSpec("csv", {"path": str(path), "column": 1})):
            with pytest.raises(ValueError, match="read-only"):
                series_of(spec).parts()[0][0] = 1.0

    def test_digests_tell_data_apart(self, tmp_path: Path) -> None:
        path = written(tmp_path, table())
        csv_series = series_of(DataSpec("csv", {"path": str(path), "column": 1}))
        assert csv_series.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        digests = {series_of(DataSpec("channel", {"seed": seed})).digest for seed in range(3)}
        assert len(digests | {series_of(DataSpec("sunspots")).digest, csv_series.digest}) == 5


class TestDataSpec:
    def test_goes_through_json_unchanged(self) -> None:
        spec = DataSpec("csv", {"path": "a.csv", "column": 3}, test=0.25, digest="ab")
        assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


class TestCache:
    def test_a_series_is_one_object_within_a_process(self, tmp_path: Path) -> None:
        path = written(tmp_path, table())
        for spec in (DataSpec("sunspots"), DataSpec("csv", {"path": str(path), "column": 1})):
            assert series_of(spec) is series_of(spec)

    def test_a_file_that_changed_is_read_again(self, tmp_path: Path) -> None:
        spec = DataSpec("csv", {"path": str(written(tmp_path, table())), "column": 1})
        before = series_of(spec)
        written(tmp_path, table(values=[*VALUES[:-1], 99.0]))
        assert series_of(spec).values[-1] == 99.0
        assert before.values[-1] == 12.0

    def test_other_columns_and_test_fractions_are_other_series(self, tmp_path: Path) -> None:
        path = str(written(tmp_path, table()))
        series = series_of(DataSpec("csv", {"path": path, "column": 1}))
        assert series_of(DataSpec("csv", {"path": path, "column": 0})).values[0] == 0.0
        assert series_of(DataSpec("csv", {"path": path, "column": 1}, test=0.5)) is not series

    def test_a_bounded_number_is_kept(self) -> None:
        for seed in range(30):
            series_of(DataSpec("channel", {"samples": 10, "seed": seed}))
        assert len(loading._cache) == 8


class TestFetching:
    def test_a_worker_asks_the_archive_once_by_digest(self, tmp_path: Path) -> None:
        path = written(tmp_path, table())
        spec = DataSpec("csv", {"path": "/on/another/machine.csv", "column": 1}, digest=file_digest(path))
        asked = []

        def fetch(digest: str) -> Path:
            asked.append(digest)
            return path

        assert series_of(spec, fetch) is series_of(spec, fetch)
        assert series_of(spec, fetch).values.tolist() == VALUES
        assert asked == [spec.digest]

    def test_a_local_file_that_is_not_the_submitted_one_is_refused(self, tmp_path: Path) -> None:
        path = written(tmp_path, table())
        with pytest.raises(DataError, match=r"series.csv: its content changed since the experiment was submitted"):
            series_of(DataSpec("csv", {"path": str(path), "column": 1}, digest="0" * 64))


class TestGoodFiles:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "   ", ", ", " \t "])
    @pytest.mark.parametrize("header", ["", "index{}value{}note"])
    def test_any_delimiter_with_and_without_header(self, tmp_path: Path, separator: str, header: str) -> None:
        path = written(tmp_path, table(separator, header.format(separator, separator)))
        assert read_csv_column(path, 1).tolist() == VALUES

    def test_a_column_by_its_header(self, tmp_path: Path) -> None:
        path = written(tmp_path, table(",", "index, value ,note"))
        assert read_csv_column(path, "value").tolist() == VALUES

    def test_one_column_without_a_delimiter(self, tmp_path: Path) -> None:
        text = "Sunspots, monthly\n" + "".join(f"  {value!r}\n" for value in VALUES)
        assert read_csv_column(written(tmp_path, text), 0).tolist() == VALUES

    def test_byte_order_mark_windows_lines_and_blank_lines_at_the_end(self, tmp_path: Path) -> None:
        text = table(",", "index,value,note").replace("\n", "\r\n") + "\r\n\r\n"
        assert read_csv_column(written(tmp_path, b"\xef\xbb\xbf" + text.encode()), "value").tolist() == VALUES
        assert read_csv_column(written(tmp_path, b"\xef\xbb\xbf" + text.encode()), "index").size == len(VALUES)

    def test_a_missing_end_of_the_last_line(self, tmp_path: Path) -> None:
        assert read_csv_column(written(tmp_path, table().rstrip("\n")), 1).size == len(VALUES)

    def test_quoted_fields_and_thousands_of_rows(self, tmp_path: Path) -> None:
        text = '"when","how many"\n' + "".join(f'"day {i}, noon","{i}.5"\n' for i in range(5000))
        assert read_csv_column(written(tmp_path, text), "how many").tolist() == [i + 0.5 for i in range(5000)]

    def test_a_semicolon_wins_over_commas_in_every_line(self, tmp_path: Path) -> None:
        text = "".join(f"{i},5;{i}.25;a,b\n" for i in range(12))
        assert read_csv_column(written(tmp_path, text), 1)[:2].tolist() == [0.25, 1.25]

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=10, max_size=30))
    def test_every_bit_survives(self, tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
        path = written(tmp_path_factory.mktemp("bits"), table(values=values))
        assert read_csv_column(path, 1).tobytes() == np.array(values).tobytes()


class TestBadFiles:
    @pytest.mark.parametrize(
        ("field", "told"),
        [
            ("many", "column 1 is 'many', which is not a number"),
            ("", "column 1 is empty; a series may not have gaps"),
            ("  ", "column 1 is empty; a series may not have gaps"),
            ("NaN", "column 1 is NaN; a series needs finite numbers"),
            ("-inf", "column 1 is -inf; a series needs finite numbers"),
            ("1e999", "column 1 is 1e999; a series needs finite numbers"),
            ('"1,5"', "column 1 is '1,5'; write a decimal point instead of the comma"),
            ("0x10", "column 1 is '0x10', which is not a number"),
        ],
    )
    @pytest.mark.parametrize("line", [2, 7, 12])
    def test_a_bad_field_is_told_by_file_line_and_value(self, tmp_path: Path, field: str, told: str, line: int) -> None:
        rows = table().splitlines()
        rows[line - 1] = f"6,{field},x"
        with pytest.raises(DataError) as raised:
            read_csv_column(written(tmp_path, "\n".join(rows)), 1)
        assert str(raised.value) == f"{tmp_path / 'series.csv'}:{line}: {told}"

    def test_a_gap_in_the_first_row_is_not_taken_for_a_header(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"series.csv:1: column 1 is empty"):
            read_csv_column(written(tmp_path, "0,,7\n" + table()), 1)

    def test_an_empty_line_between_rows(self, tmp_path: Path) -> None:
        lines = table().splitlines()
        with pytest.raises(DataError, match=r"series.csv:4: the line is empty; a series may not have gaps"):
            read_csv_column(written(tmp_path, "\n".join([*lines[:3], "", *lines[3:]])), 1)

    def test_a_row_that_ends_before_the_column(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"series.csv:13: the row has 2 fields and no column 2 \(the first is 0\)"):
            read_csv_column(written(tmp_path, table().replace("x", "1") + "13,1.0\n"), 2)

    def test_a_column_that_no_row_has(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"series.csv:1: the row has 3 fields and no column 3"):
            read_csv_column(written(tmp_path, table()), 3)

    def test_a_negative_column(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no column -1: columns count from 0"):
            read_csv_column(written(tmp_path, table()), -1)

    def test_an_unknown_header_suggests_the_near_one(self, tmp_path: Path) -> None:
        path = written(tmp_path, table(",", "index,value,note"))
        with pytest.raises(DataError, match="no column is called 'valu'; did you mean 'value'"):
            read_csv_column(path, "valu")
        with pytest.raises(DataError, match="no column is called 'z'; the first row has 'index', 'value', 'note'"):
            read_csv_column(path, "z")

    def test_too_few_rows(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"too few rows: 9 values, a series needs at least 10"):
            read_csv_column(written(tmp_path, table(values=VALUES[:9])), 1)

    @pytest.mark.parametrize("text", ["", "\n\n"])
    def test_an_empty_file(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(DataError, match=r"series.csv"):
            read_csv_column(written(tmp_path, text), 0)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"\x89PNG\r\n\x1a\n\x00\x00", "not text in UTF-8"),
            (b"PK\x03\x04\x00\x00\n" * 20, "not a text file"),
            (table().encode("utf-16"), "not text in UTF-8"),
            (table().encode() + b"12,\xff\xfe\n", "not text in UTF-8"),
            (b'0,1,"' + b"a" * 200_000 + b"\n" + table().encode(), "not a CSV file: field larger than field limit"),
        ],
    )
    def test_what_is_no_text(self, tmp_path: Path, content: bytes, told: str) -> None:
        with pytest.raises(DataError, match=told):
            read_csv_column(written(tmp_path, content), 1)

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        for call in (lambda path: read_csv_column(path, 0), file_digest):
            with pytest.raises(DataError, match="no such file"):
                call(tmp_path / "absent.csv")
            with pytest.raises(DataError, match="is a folder, not a file"):
                call(tmp_path)

    @given(st.binary(max_size=300))
    def test_no_content_makes_anything_but_a_series_or_a_data_error(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        path = written(tmp_path_factory.mktemp("any"), content)
        with suppress(DataError):
            assert np.isfinite(read_csv_column(path, 0)).all()


def test_a_spec_can_name_data_without_importing_numpy() -> None:
    code = "import sys, optml_queue.data; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
