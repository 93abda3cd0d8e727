"""Tables: digits, MNIST, arrays and text files; their parts, their scale, and their place on the disk."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.mnist_shaped import write_mnist_shaped
from optml_queue.archive.dataset import bring, fetch
from optml_queue.archive.directory import DirectoryArchive
from optml_queue.data import DataSpec, Split, Table, digits, file_digest, load, loading, mnist, prepared
from optml_queue.errors import DataError
from tests.datasets import table

IRISES = """\
sepal,petal,colour,species
5.1,1.4,blue,setosa
7.0,4.7,white,versicolor
6.3,6.0,blue,virginica
4.9,1.5,red,setosa
6.4,4.5,white,versicolor
5.8,5.1,blue,virginica
4.7,1.3,blue,setosa
6.9,4.9,red,versicolor
7.1,5.9,red,virginica
4.6,1.5,blue,setosa
"""


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_cache", type(loading._cache)())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """New folders, for examples of hypothesis, which share a test's `tmp_path`."""
    return lambda: tmp_path_factory.mktemp("example")


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def text_file(path: Path, text: str | bytes = IRISES, target: int | str = "species", **options: Any) -> DataSpec:
    return DataSpec("table", {"path": str(written(path / "table.csv", text)), "target": target, **options})


def arrays(path: Path, name: str = "arrays.npz", **values: Any) -> str:
    np.savez(path / name, allow_pickle=True, **values)
    return str(path / name)


def numbered(path: Path, rows: int, test: float | None = None, **options: Any) -> Table:
    """A table whose first input is the number of the row, and whose target is that too."""
    x = np.stack([np.arange(rows), np.full(rows, 7)], axis=1)
    spec = DataSpec("npz", {"path": arrays(path, x=x, y=np.arange(rows) + 0.5), **options}, test)
    return table(spec)


def splits(data: Table) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def lengths(data: Table) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def rows_in(split: Split) -> list[int]:
    return [int(target) for target in split.targets]


class TestDigits:
    def test_they_are_the_well_known_ones(self) -> None:
        data = table(DataSpec("digits"))
        assert lengths(data) == (1618, 0, 179)
        assert data.classes == tuple("0123456789")
        assert (data.rows, data.features) == (1618, 64)
        pixels = np.concatenate([split.inputs for split in splits(data)]) * 16
        assert pixels.dtype == np.float32
        assert pixels.sum(dtype=np.float64) == 561_718  # of load_digits().data
        assert (pixels.min(), pixels.max()) == (0, 16)
        assert pixels[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
        targets = np.concatenate([split.targets for split in splits(data)])
        assert targets.dtype == np.int64
        assert np.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]

    def test_scikit_learn_itself_is_not_imported(self) -> None:
        code = """
        import sys
        from optml_queue.data import DataSpec, load
        load(DataSpec("digits"))
        sys.exit(bool({"sklearn", "scipy", "keras", "tensorflow"} & set(sys.modules)))
        """
        assert subprocess.run([sys.executable, "-c", dedent(code)], check=False).returncode == 0

    def test_without_scikit_learn_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(digits, "find_spec", lambda _name: None)
        with pytest.raises(DataError, match=r"scikit-learn, which is not installed.*'optml-queue\[sklearn\]'"):
            load(DataSpec("digits"))

    @pytest.mark.parametrize("content", [b"", b"1,2,3\n", b"\x1f\x8b\x08\x00broken"])
    def test_a_file_of_another_kind(self, tmp_path: Path, content: bytes) -> None:
        path = written(tmp_path / "digits", content)
        with pytest.raises(DataError, match="digits: not the digits of scikit-learn"):
            load(DataSpec("digits", digest=file_digest(path)), lambda _digest: path)

    def test_a_worker_reads_what_the_client_put_into_the_archive(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = DirectoryArchive(tmp_path / "archive")
        data = bring(archive, DataSpec("digits"))
        monkeypatch.setattr(digits, "find_spec", lambda _name: None)
        assert table(data, lambda digest: fetch(archive, digest, tmp_path / "cache")).digest == data.digest != ""


class TestParts:
    @given(
        rows=st.integers(5, 200),
        test=st.floats(0.2, 0.5),
        validation=st.one_of(st.just(0.0), st.floats(0.2, 0.45)),
        seed=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    )
    def test_every_row_is_in_one_part_with_its_target(
        self, folder: Callable[[], Path], rows: int, test: float, validation: float, seed: int | None
    ) -> None:
        data = numbered(folder(), rows, test, validation=validation, seed=seed)
        assert len(data.test) == int(rows * test + 1e-9)
        assert len(data.validation) == int(rows * validation + 1e-9)
        numbers = [number for split in splits(data) for number in rows_in(split)]
        assert sorted(numbers) == list(range(rows))
        for split in splits(data):
            assert split.inputs[:, 0].tolist() == rows_in(split)
            assert set(split.inputs[:, 1].tolist()) <= {7.0}
        if seed is None:
            assert numbers == list(range(rows))

    def test_the_seed_alone_decides_the_order(self, tmp_path: Path) -> None:
        first, again, other = (rows_in(numbered(tmp_path, 100, seed=seed).train) for seed in (3, 3, 4))
        assert first == again != other
        assert first != sorted(first)

    def test_a_tenth_is_for_the_test_unless_told_otherwise(self, tmp_path: Path) -> None:
        assert lengths(numbered(tmp_path, 100)) == (90, 0, 10)
        assert lengths(numbered(tmp_path, 100, 0.29)) == (71, 0, 29)

    def test_arrays_are_contiguous_and_nobody_can_change_them(self, tmp_path: Path) -> None:
        for split in splits(numbered(tmp_path, 50, validation=0.2, seed=1, standardize=True)):
            assert split.inputs.dtype == np.float32
            assert split.inputs.flags.c_contiguous
            for values in (split.inputs, split.targets):
                with pytest.raises(ValueError, match="read-only"):
                    values[0] = 0

    @pytest.mark.parametrize(
        ("rows", "test", "validation", "told"),
        [
            (5, None, 0.0, "5 rows leave none to test on"),
            (2, 0.5, 0.5, "2 rows leave none to train on"),
            (9, 0.5, 0.1, r"a fraction of 0.1 of 9 rows is no row to validate on"),
        ],
    )
    def test_a_part_without_rows(
        self, tmp_path: Path, rows: int, test: float | None, validation: float, told: str
    ) -> None:
        with pytest.raises(DataError, match=f"arrays.npz: {told}"):
            numbered(tmp_path, rows, test, validation=validation)


class TestScale:
    @given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from([0.0, -5.0, 1e5]))
    def test_training_inputs_have_mean_0_and_deviation_1(
        self, folder: Callable[[], Path], seed: int, deviation: float, mean: float
    ) -> None:
        x = np.random.default_rng(seed).normal(mean, deviation, (60, 3)).astype(np.float32)
        path = arrays(folder(), x=x, y=np.arange(60))
        data = table(DataSpec("npz", {"path": path, "standardize": True, "seed": seed, "task": "regression"}))
        if deviation > 1e-6 * abs(mean):
            assert data.train.inputs.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-4)
            assert data.train.inputs.std(axis=0) == pytest.approx([1, 1, 1], abs=1e-4)

    def test_it_is_fitted_on_the_training_part_only(self, tmp_path: Path) -> None:
        x = np.random.default_rng(0).normal(3.0, 2.0, (100, 2))
        other = x.copy()
        other[80:] += 1000  # the validation and the test part
        options = {"standardize": True, "validation": 0.1, "task": "regression"}
        one, two = (
            table(DataSpec("npz", {"path": arrays(tmp_path, f"{name}.npz", x=values, y=np.arange(100)), **options}))
            for name, values in (("one", x), ("two", other))
        )
        assert one.train.inputs.tobytes() == two.train.inputs.tobytes()
        mean, deviation = x[:80].mean(axis=0), x[:80].std(axis=0)
        assert one.test.inputs == pytest.approx((x[90:] - mean) / deviation, abs=1e-5)
        assert two.validation.inputs == pytest.approx((other[80:90] - mean) / deviation, rel=1e-5)

    def test_an_input_that_never_changes_becomes_0(self, tmp_path: Path) -> None:
        assert set(numbered(tmp_path, 50, standardize=True).train.inputs[:, 1].tolist()) == {0.0}

    def test_categories_stay_0_and_1(self, tmp_path: Path) -> None:
        data = table(text_file(tmp_path, standardize=True))
        assert set(data.train.inputs[:, 2:].ravel().tolist()) == {0.0, 1.0}
        assert data.train.inputs[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)

    def test_chunks_do_not_show(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        x = np.random.default_rng(0).normal(0, 1, (200, 3))
        spec = DataSpec("npz", {"path": arrays(tmp_path, x=x, y=x[:, 0]), "seed": 1, "validation": 0.3}, 0.3)
        whole = table(spec)
        monkeypatch.setattr("optml_queue.data.source.CHUNK_ROWS", 7)
        loading._cache.clear()
        for one, other in zip(splits(whole), splits(table(spec)), strict=True):
            assert one.inputs.tobytes() == other.inputs.tobytes()


class TestArrays:
    def test_a_test_part_of_its_own_is_kept_in_order(self, tmp_path: Path) -> None:
        x, y = np.arange(40.0).reshape(10, 2, 2), np.arange(10) / 10
        path = arrays(tmp_path, x_train=x, y_train=y, x_test=x[:3] + 100, y_test=y[:3])
        data = table(DataSpec("npz", {"path": path, "seed": 0, "validation": 0.2}))
        assert lengths(data) == (8, 2, 3)
        assert data.test.inputs.tolist() == [[100, 101, 102, 103], [104, 105, 106, 107], [108, 109, 110, 111]]
        with pytest.raises(DataError, match="has a test part of its own; leave test: out"):
            load(DataSpec("npz", {"path": path}, 0.2))

    @pytest.mark.parametrize(
        ("y", "task", "classes"),
        [
            (np.array([3, 1, 1, 3]), "", ("1", "3")),
            (np.array([3, 1, 1, 3], dtype=np.uint8), "", ("1", "3")),
            (np.array([10.0, 9.0, 9.0, 10.0]), "", ("9", "10")),
            (np.array([True, False, True, True]), "", ("0", "1")),
            (np.array(["b", "a", "a", "é"]), "", ("a", "b", "é")),
            (np.array([b"b", b"a", b"a", b"b"]), "", ("a", "b")),
            (np.array([[1], [0], [0], [1]]), "", ("0", "1")),
            (np.array([0.5, 0.25, 0.5, 0.25]), "", ()),
            (np.array([0.5, 0.25, 0.5, 0.25]), "classification", ("0.25", "0.5")),
            (np.array([3, 1, 1, 3]), "regression", ()),
        ],
    )
    def test_targets_are_classes_or_numbers(
        self, tmp_path: Path, y: npt.NDArray[Any], task: str, classes: tuple[str, ...]
    ) -> None:
        options = {"path": arrays(tmp_path, x=np.zeros((4, 1)), y=y), **({"task": task} if task else {})}
        data = table(DataSpec("npz", options, 0.25))
        assert data.classes == classes
        targets = np.concatenate([split.targets for split in splits(data)])
        if classes:
            assert targets.dtype == np.int64
            assert [classes[index] for index in targets] == [_label(value) for value in y.ravel().tolist()]
        else:
            assert targets.dtype == np.float64
            assert targets.tolist() == y.tolist()

    def test_twenty_different_whole_numbers_are_classes_and_more_are_numbers(self, tmp_path: Path) -> None:
        for count, classes in ((20, 20), (21, 0)):
            path = arrays(tmp_path, x=np.zeros((3000, 1)), y=np.arange(3000) % count)
            assert len(table(DataSpec("npz", {"path": path})).classes) == classes
        sorted_path = arrays(tmp_path, x=np.zeros((3000, 1)), y=np.arange(3000) // 100)
        assert table(DataSpec("npz", {"path": sorted_path})).classes == ()

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            (
                {"x": [[1.0]], "z": [1]},
                "has no y; the arrays are x_train, y_train, x_test, y_test or x, y, and it has x",
            ),
            ({"x_train": [[1]], "y_train": [1], "y": [1]}, "has no x_test and no y_test"),
            ({}, "has no x and no y; .* and it has nothing"),
            ({"x": [[1.0, 2.0], [3.0, np.nan]], "y": [0, 1]}, r"x\[1, 1\] is nan, not a finite number"),
            ({"x": [[1.0], [1e39]], "y": [0, 1]}, r"x\[1, 0\] is 1e\+39, too large for single precision"),
            ({"x": [[1.0], [2.0]], "y": [0.5, -np.inf]}, r"y\[1\] is -inf"),
            ({"x": [["a"], ["b"]], "y": [0, 1]}, "x must be real numbers, got <U1"),
            ({"x": [[1j], [2]], "y": [0, 1]}, "x must be real numbers, got complex128"),
            ({"x": [[1], [2]], "y": [0, 1j]}, "y must be numbers or text, got complex128"),
            ({"x": [[1], [2]], "y": [0, 1, 2]}, r"one value for each of the 2 rows of x, got the shape \(3,\)"),
            ({"x": [[1], [2]], "y": [[0, 1], [1, 0]]}, r"one value for each of the 2 rows of x"),
            ({"x": [], "y": []}, r"x is empty: its shape is \(0,\)"),
            ({"x": np.zeros((3, 0)), "y": [0, 1, 2]}, r"x is empty: its shape is \(3, 0\)"),
            ({"x": 5.0, "y": [1]}, r"x is empty: its shape is \(\)"),
            (
                {"x_train": [[1, 2]], "y_train": [1], "x_test": [[1, 2, 3]], "y_test": [1]},
                r"a row of x_train has the shape \(2,\), one of x_test \(3,\)",
            ),
            ({"x_train": [[1]], "y_train": [1], "x_test": [[1]], "y_test": ["a"]}, "both must be text, or neither"),
            ({"x": [[1], [2]], "y": np.array([{}, {}])}, "not an npz file of plain arrays: Object arrays cannot be"),
            ({"x": [[1]] * 9, "y": ["same"] * 9}, "every row has the target 'same'; there is nothing to learn"),
            ({"x": [[1]] * 9, "y": list("abcdefghi"), "task": "regression"}, "the targets are text, as in 'a'"),
            (
                {"x": [[1]] * 1001, "y": list(range(1001)), "task": "classification"},
                "the targets have 1,001 different values",
            ),
        ],
    )
    def test_what_cannot_be_used_is_named(self, tmp_path: Path, values: dict[str, Any], told: str) -> None:
        task = {"task": values.pop("task")} if "task" in values else {}
        with pytest.raises(DataError, match=f"arrays.npz: .*{told}"):
            load(DataSpec("npz", {"path": arrays(tmp_path, **values), **task}, None if "x_train" in values else 0.5))

    @pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04" + b"\0" * 60, b"\x93NUMPY\x01\x00"])
    def test_files_of_another_kind(self, tmp_path: Path, content: bytes) -> None:
        path = written(tmp_path / "arrays.npz", content)
        with pytest.raises(DataError, match=r"arrays.npz: not an npz file of plain arrays"):
            load(DataSpec("npz", {"path": str(path)}))

    def test_a_single_array_and_a_cut_file(self, tmp_path: Path) -> None:
        np.save(tmp_path / "single.npy", np.zeros(5))
        with pytest.raises(DataError, match="holds a single array"):
            load(DataSpec("npz", {"path": str(tmp_path / "single.npy")}))
        whole = Path(arrays(tmp_path, x=np.random.default_rng(0).normal(0, 1, (500, 4)), y=np.arange(500))).read_bytes()
        for size in (len(whole) // 2, len(whole) - 30):
            with pytest.raises(DataError, match=r"cut.npz"):
                load(DataSpec("npz", {"path": str(written(tmp_path / "cut.npz", whole[:size]))}))

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"absent.npz: no such file"):
            load(DataSpec("npz", {"path": str(tmp_path / "absent.npz")}))


def _label(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return str(int(value)) if isinstance(value, bool | float) and value == int(value) else str(value)


class TestTextFiles:
    def test_numbers_categories_and_a_target(self, tmp_path: Path) -> None:
        data = table(text_file(tmp_path))
        assert data.classes == ("setosa", "versicolor", "virginica")
        assert lengths(data) == (9, 0, 1)
        assert data.features == 2 + 3  # blue, red, white
        assert data.train.inputs[:4] == pytest.approx(
            np.array([[5.1, 1.4, 1, 0, 0], [7.0, 4.7, 0, 0, 1], [6.3, 6.0, 1, 0, 0], [4.9, 1.5, 0, 1, 0]])
        )
        assert data.train.targets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]

    @pytest.mark.parametrize("target", [0, "sepal"])
    def test_a_target_of_numbers(self, tmp_path: Path, target: int | str) -> None:
        data = table(text_file(tmp_path, target=target))
        assert data.classes == ()
        assert data.train.targets.tolist()[:3] == [5.1, 7.0, 6.3]
        assert data.features == 1 + 3 + 3

    def test_a_target_in_the_middle_by_number_and_by_name(self, tmp_path: Path) -> None:
        by_name, by_number = (table(text_file(tmp_path, target=target)) for target in ("colour", 2))
        assert by_name.classes == by_number.classes == ("blue", "red", "white")
        assert by_name.train.inputs.tobytes() == by_number.train.inputs.tobytes()

    def test_without_names_the_first_row_counts(self, tmp_path: Path) -> None:
        text = IRISES.partition("\n")[2]
        assert lengths(table(text_file(tmp_path, text, 3))) == (9, 0, 1)
        categories = "a,p\nb,q\na,p\nb,q\n"
        data = table(DataSpec("table", text_file(tmp_path, categories, 1).options, 0.25))
        assert (data.train.targets.tolist(), data.features) == ([0, 1, 0], 2)

    def test_names_are_told_from_categories_by_the_target(self, tmp_path: Path) -> None:
        data = table(DataSpec("table", text_file(tmp_path, "letter,class\na,p\nb,q\na,p\nb,q\n", 1).options, 0.25))
        assert data.classes == ("p", "q")
        assert len(data.train) == 3

    def test_a_column_without_a_name_holds_the_names_of_the_rows(self, tmp_path: Path) -> None:
        text = "\n".join([",x,y", *(f"row {i},{i}.5,{i % 2}" for i in range(20))])
        data = table(text_file(tmp_path, text, "y"))
        assert data.features == 1
        assert data.classes == ("0", "1")

    def test_a_target_without_a_name_can_be_numbered(self, tmp_path: Path) -> None:
        text = "\n".join(["x,", *(f"{i}.5,{i % 2}" for i in range(20))])
        assert table(text_file(tmp_path, text, 1)).classes == ("0", "1")

    def test_whole_numbers_are_classes_and_the_task_decides_otherwise(self, tmp_path: Path) -> None:
        text = "\n".join(["x,y", *(f"{i}.5,{i % 3}" for i in range(20))])
        assert table(text_file(tmp_path, text, "y")).classes == ("0", "1", "2")
        assert table(text_file(tmp_path, text, "y", task="regression")).train.targets.dtype == np.float64
        with pytest.raises(DataError, match="the targets are text, as in 'setosa'; regression needs numbers"):
            load(text_file(tmp_path, task="regression"))

    @pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
    def test_any_delimiter(self, tmp_path: Path, delimiter: str) -> None:
        data = table(text_file(tmp_path, b"\xef\xbb\xbf" + IRISES.replace(",", delimiter).encode()))
        assert (data.features, len(data.classes)) == (5, 3)

    @given(
        st.lists(
            st.tuples(
                st.floats(width=32, allow_nan=False, allow_infinity=False),
                st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5),
                st.booleans(),
            ),
            min_size=10,
            max_size=40,
        )
    )
    def test_what_was_written_is_read(self, folder: Callable[[], Path], rows: list[tuple[float, str, bool]]) -> None:
        # Enough plain rows first that a column's kind and the delimiter are plain too.
        rows = [(0.5, "one", True), (1.5, "two", False)] * 60 + rows
        path = folder() / "table.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("number", "text", "flag"), *rows])
        data = table(DataSpec("table", {"path": str(path), "target": "flag"}, 0.25))
        inputs = np.concatenate([split.inputs for split in splits(data)])
        assert inputs[:, 0].tolist() == [number for number, _text, _flag in rows]
        texts = sorted({text for _number, text, _flag in rows})
        assert [texts[place] for place in inputs[:, 1:].argmax(axis=1)] == [text for _number, text, _flag in rows]
        assert (inputs[:, 1:].sum(axis=1) == 1).all()
        targets = np.concatenate([split.targets for split in splits(data)])
        assert [data.classes[index] for index in targets] == [str(flag) for _number, _text, flag in rows]

    @pytest.mark.parametrize(
        ("line", "row", "told"),
        [
            (3, ",4.7,white,versicolor", "column sepal is empty; a table may not have gaps"),
            (3, "7.0,nan,white,versicolor", "column petal is nan; a table needs finite numbers"),
            (3, "7.0,inf,white,versicolor", "column petal is inf; a table needs finite numbers"),
            (3, "7.0,1e39,white,versicolor", "column petal is 1e39, too large for single precision"),
            (3, "7.0,NA,white,versicolor", "column petal is 'NA', which is not a number"),
            (2, "NA,4.7,white,versicolor", "column sepal is 'NA', which is not a number"),
            (9, "many,4.7,white,versicolor", "column sepal is 'many', which is not a number"),
            (9, '"7,0",4.7,white,versicolor', "column sepal is '7,0'; write a decimal point instead of the comma"),
            (9, "7.0,4.7, ,versicolor", "column colour is empty; a table may not have gaps"),
            (9, "7.0,4.7,white,", "column species is empty; a table may not have gaps"),
            (9, "7.0,4.7,white", "the line has 3 fields, the first row 4"),
            (9, "7.0,4.7,white,versicolor,", "the line has 5 fields, the first row 4"),
            (9, "", "the line is empty"),
        ],
    )
    def test_a_bad_row_is_told_by_file_line_and_value(self, tmp_path: Path, line: int, row: str, told: str) -> None:
        lines = IRISES.splitlines()
        lines[line - 1] = row
        with pytest.raises(DataError) as raised:
            load(text_file(tmp_path, "\n".join(lines)))
        assert str(raised.value) == f"{tmp_path / 'table.csv'}:{line}: {told}"

    def test_a_bad_row_far_below(self, tmp_path: Path) -> None:
        text = "x,y\n" + "1,a\n2,b\n" * 5000 + "1,\n"
        with pytest.raises(DataError, match=r"table.csv:10002: column y is empty"):
            load(text_file(tmp_path, text, "y"))

    def test_blank_lines_at_the_end_are_no_rows(self, tmp_path: Path) -> None:
        assert lengths(table(text_file(tmp_path, IRISES + "\n\n"))) == (9, 0, 1)

    @pytest.mark.parametrize(
        ("text", "target", "told"),
        [
            ("", "y", "table.csv: the file is empty"),
            ("\n\n", "y", "table.csv:1: the line is empty"),
            ("x,y\n", "y", "table.csv: there are no rows below the names of the columns"),
            ("y\n1\n2\n", "y", "table.csv: there is no column beside the target"),
            (IRISES, "specie", r"table.csv:1: no column is called 'specie'; did you mean 'species'\?"),
            (IRISES, 4, r"table.csv:1: the row has 4 fields and no column 4 \(the first is 0\)"),
            (b"\x89PNG\r\n\x1a\n\x00", "y", "not text in UTF-8"),
        ],
    )
    def test_files_that_hold_no_table(self, tmp_path: Path, text: str | bytes, target: int | str, told: str) -> None:
        with pytest.raises(DataError, match=told):
            load(text_file(tmp_path, text, target))

    def test_a_column_of_too_many_texts(self, tmp_path: Path) -> None:
        text = "x,y\n" + "".join(f"name{i},{i % 2}\n" for i in range(1001))
        with pytest.raises(DataError, match=r"table.csv:1002: column x is 'name1000', one text too many"):
            load(text_file(tmp_path, text, "y"))

    @given(
        st.one_of(st.binary(max_size=300), st.text("a1.,;\n\t \"'é-e", max_size=120).map(str.encode)), st.integers(0, 3)
    )
    def test_no_content_makes_anything_but_a_table_or_a_data_error(
        self, folder: Callable[[], Path], content: bytes, target: int
    ) -> None:
        with suppress(DataError):
            data = table(text_file(folder(), content, target))
            assert np.isfinite(data.train.inputs).all()


FAKE_KERAS = """\
import os, shutil
from types import SimpleNamespace

datasets = SimpleNamespace(mnist=SimpleNamespace(load_data=lambda: load_data()))

def load_data():
"""


class TestMnist:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    @pytest.fixture
    def keras(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Puts a Keras in front whose loader runs some code."""

        def install(code: str) -> None:
            package = tmp_path / "packages" / "keras"
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(FAKE_KERAS + indent(dedent(code), "    "))
            monkeypatch.setenv("PYTHONPATH", str(package.parent))
            monkeypatch.setattr(mnist, "find_spec", lambda _name: package)

        return install

    def test_it_brings_its_test_part_and_its_scale(self, tmp_path: Path) -> None:
        path = write_mnist_shaped(tmp_path / "mnist.npz", 500, 100)
        data = table(DataSpec("mnist", {"path": str(path), "validation": 0.1}))
        assert lengths(data) == (450, 50, 100)
        assert (data.features, data.classes) == (784, tuple("0123456789"))
        with np.load(path) as file:
            images = np.concatenate([file["x_train"], file["x_test"]]).reshape(-1, 784)
            labels = np.concatenate([file["y_train"], file["y_test"]])
        assert images.max() == 255
        inputs = np.concatenate([split.inputs for split in splits(data)])
        assert (inputs == images.astype(np.float32) / np.float32(255)).all()
        assert np.concatenate([split.targets for split in splits(data)]).tolist() == labels.tolist()

    def test_the_cache_comes_before_what_keras_keeps(self, tmp_path: Path, home: Path) -> None:
        (home / ".keras" / "datasets").mkdir(parents=True)
        write_mnist_shaped(home / ".keras" / "datasets" / "mnist.npz", 20, 10)
        assert len(table(DataSpec("mnist"), None, tmp_path / "cache").train) == 20
        (tmp_path / "cache").mkdir(exist_ok=True)
        write_mnist_shaped(tmp_path / "cache" / "mnist.npz", 30, 10)
        assert len(table(DataSpec("mnist"), None, tmp_path / "cache").train) == 30

    def test_keras_brings_it_into_the_cache(self, tmp_path: Path, keras: Callable[[str], None]) -> None:
        source = write_mnist_shaped(tmp_path / "source.npz", 20, 10)
        keras(
            f"""
            folder = os.path.join(os.environ["KERAS_HOME"], "datasets")
            os.makedirs(folder)
            shutil.copy({str(source)!r}, os.path.join(folder, "mnist.npz"))
            """
        )
        cache = tmp_path / "cache"
        assert len(table(DataSpec("mnist"), None, cache).train) == 20
        assert [path.name for path in cache.iterdir() if path.name != "prepared"] == ["mnist.npz"]

    def test_offline_it_says_where_to_put_the_file(self, tmp_path: Path, keras: Callable[[str], None]) -> None:
        keras('raise OSError("URL fetch failure: Name or service not known")')
        with pytest.raises(DataError) as raised:
            load(DataSpec("mnist"), None, tmp_path / "cache")
        message = str(raised.value)
        for words in (
            str(tmp_path / "cache" / "mnist.npz"),
            str(tmp_path / "home" / ".keras" / "datasets" / "mnist.npz"),
            "Keras could not download it (OSError: URL fetch failure: Name or service not known)",
            "data: {name: mnist, path: PATH or s3://bucket/key}",
        ):
            assert words in message

    def test_without_keras_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mnist, "find_spec", lambda _name: None)
        with pytest.raises(
            DataError, match=r"Keras, which could download it, is not installed \(the extra tensorflow\)"
        ):
            load(DataSpec("mnist"))

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"x": [[1]], "y": [1]}, "it has x and y; its arrays are x_train, y_train, x_test, y_test"),
            (
                {"x_train": [[0.5]], "y_train": [1], "x_test": [[0.5]], "y_test": [0]},
                "pixels are uint8, got float64; an npz of your own is npz: PATH",
            ),
        ],
    )
    def test_another_npz_is_refused(self, tmp_path: Path, values: dict[str, Any], told: str) -> None:
        with pytest.raises(DataError, match=f"not mnist.npz: {told}"):
            load(DataSpec("mnist", {"path": arrays(tmp_path, **values)}))


class TestLargeTables:
    """Tables above the limit, which is lowered to nothing here, lie in the cache folder and are mapped."""

    @pytest.fixture(autouse=True)
    def _everything_is_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepared, "MAPPED_BYTES", 0)

    @pytest.fixture
    def spec(self, tmp_path: Path) -> DataSpec:
        return text_file(tmp_path, validation=0.2, seed=3, standardize=True)

    def test_they_hold_the_same_as_in_memory(self, tmp_path: Path, spec: DataSpec) -> None:
        in_memory = table(spec)
        loading._cache.clear()
        mapped = table(spec, None, tmp_path / "cache")
        assert (mapped.classes, mapped.digest) == (in_memory.classes, in_memory.digest)
        for one, other in zip(splits(in_memory), splits(mapped), strict=True):
            assert one.inputs.tobytes() == other.inputs.tobytes()
            assert one.targets.tobytes() == other.targets.tobytes()
            assert other.inputs.flags.c_contiguous
            assert type(other.inputs) is np.ndarray
            with pytest.raises(ValueError, match="read-only"):
                other.inputs[0] = 0
        assert any(isinstance(base, np.memmap) for base in bases(mapped.train.inputs))
        assert not any(isinstance(base, np.memmap) for base in bases(in_memory.train.inputs))

    def test_a_later_process_needs_the_file_no_more(self, tmp_path: Path, spec: DataSpec) -> None:
        table(spec, None, tmp_path / "cache")
        spec = DataSpec(spec.kind, {**spec.options, "path": "/gone"}, digest=file_digest(Path(spec.options["path"])))
        loading._cache.clear()

        def unwanted(digest: str) -> Path:
            raise AssertionError(digest)

        assert len(table(spec, unwanted, tmp_path / "cache").train) == 7

    def test_every_way_to_prepare_has_files_of_its_own(self, tmp_path: Path, spec: DataSpec) -> None:
        for seed in (3, 4):
            loading._cache.clear()
            table(DataSpec(spec.kind, {**spec.options, "seed": seed}), None, tmp_path / "cache")
        assert len(kept(tmp_path)) == 2

    @pytest.mark.parametrize("name", ["inputs.npy", "targets.npy", "table.json"])
    @pytest.mark.parametrize("harm", ["cut", "emptied", "removed"])
    def test_a_damaged_one_is_prepared_again(self, tmp_path: Path, spec: DataSpec, name: str, harm: str) -> None:
        before = table(spec, None, tmp_path / "cache")
        (folder,) = kept(tmp_path)
        content = (folder / name).read_bytes()
        del before
        loading._cache.clear()
        (folder / name).unlink()
        if harm != "removed":
            (folder / name).write_bytes(content[: len(content) // 2] if harm == "cut" else b"")
        assert len(table(spec, None, tmp_path / "cache").train) == 7
        assert (folder / name).read_bytes() == content

    def test_the_longest_unused_give_way(self, tmp_path: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepared, "_KEPT_TABLES", 3)
        tables = []
        for seed in range(5):
            loading._cache.clear()
            tables.append(table(DataSpec(spec.kind, {**spec.options, "seed": seed}), None, tmp_path / "cache"))
            for age, folder in enumerate(sorted(kept(tmp_path), key=lambda path: -path.stat().st_mtime)):
                os.utime(folder, (1e9 - age, 1e9 - age))  # in the order of use, however coarse the clock
        assert len(kept(tmp_path)) == 3
        assert all(np.isfinite(data.train.inputs).all() for data in tables)  # those that are in use go on

    def test_a_folder_that_cannot_hold_them(self, tmp_path: Path, spec: DataSpec) -> None:
        cache = written(tmp_path / "file", "")
        with pytest.raises(DataError, match=r"file: cannot keep the data as they are used.*set OPTML_CACHE_DIR"):
            load(spec, None, cache)

    def test_several_at_once_prepare_one_table(self, tmp_path: Path, spec: DataSpec) -> None:
        code = """
        import sys
        from pathlib import Path
        from optml_queue.data import DataSpec, load, prepared
        import json
        prepared.MAPPED_BYTES = 0
        spec = DataSpec.from_dict(json.loads(sys.argv[1]))
        print(load(spec, None, Path(sys.argv[2])).train.inputs.sum())
        """
        command = [sys.executable, "-c", dedent(code), json.dumps(spec.to_dict()), str(tmp_path / "cache")]
        with ThreadPoolExecutor(3) as pool:
            runs = list(
                pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, check=True), range(3))
            )
        assert len({run.stdout for run in runs}) == 1
        assert [path.name for path in (tmp_path / "cache" / "prepared").iterdir()] == [kept(tmp_path)[0].name]


def test_small_tables_stay_in_memory(tmp_path: Path) -> None:
    data = table(text_file(tmp_path), None, tmp_path / "cache")
    assert kept(tmp_path) == []
    assert not any(isinstance(base, np.memmap) for base in bases(data.train.inputs))


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir())


def bases(values: Any) -> Iterator[Any]:
    while values is not None:
        yield values
        values = getattr(values, "base", None)


class TestArchive:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> DirectoryArchive:
        return DirectoryArchive(tmp_path / "archive")

    def test_files_of_the_users_go_there_by_their_content(self, tmp_path: Path, archive: DirectoryArchive) -> None:
        series = written(tmp_path / "series.csv", "1\n2\n" * 10)
        npz = arrays(tmp_path, x=np.zeros((20, 2)), y=np.arange(20) % 2)
        for spec in (
            DataSpec("csv", {"path": str(series), "column": 0}),
            text_file(tmp_path),
            DataSpec("npz", {"path": npz}),
            DataSpec("mnist", {"path": str(write_mnist_shaped(tmp_path / "mnist.npz", 20, 10))}),
        ):
            stored = bring(archive, spec)
            assert stored.digest == file_digest(Path(spec.options["path"]))
            assert archive.exists(f"data/{stored.digest}")
            assert bring(archive, stored) == stored
            elsewhere = DataSpec.from_dict({**stored.to_dict(), "options": {**stored.options, "path": "/gone"}})
            loading._cache.clear()
            assert load(elsewhere, lambda digest: fetch(archive, digest, tmp_path / "cache")).digest == stored.digest

    def test_what_comes_with_the_package_stays_where_it_is(self, archive: DirectoryArchive) -> None:
        for spec in (DataSpec("sunspots"), DataSpec("channel", {"samples": 50})):
            assert bring(archive, spec) == spec
        assert list(archive.keys()) == []

    def test_what_cannot_be_used_does_not_go_there(self, tmp_path: Path, archive: DirectoryArchive) -> None:
        with pytest.raises(DataError, match="is empty; a table may not have gaps"):
            bring(archive, text_file(tmp_path, IRISES + "1,2,blue,\n"))
        assert list(archive.keys()) == []


class TestCache:
    def test_a_table_is_one_object_within_a_process_until_its_file_changes(self, tmp_path: Path) -> None:
        spec = text_file(tmp_path)
        first = load(spec)
        assert load(spec) is first
        text_file(tmp_path, IRISES + "4.6,1.5,blue,setosa\n")
        assert load(spec) is not first

    def test_the_place_of_the_file_does_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        assert load(text_file(tmp_path)) is load(text_file(tmp_path / "other"))

    def test_a_file_that_changed_since_submission_is_refused(self, tmp_path: Path) -> None:
        spec = text_file(tmp_path)
        with pytest.raises(DataError, match=r"table.csv: its content changed since the experiment was submitted"):
            load(DataSpec(spec.kind, spec.options, digest="0" * 64))

    def test_an_address_needs_somebody_to_fetch_it(self) -> None:
        with pytest.raises(DataError, match=r"s3://bucket/a.csv: is not on this machine"):
            load(DataSpec("csv", {"path": "s3://bucket/a.csv", "column": 0}))
