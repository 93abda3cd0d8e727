"""docs/extending.md, done: its files are written, its Python runs, its output is what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from optml_queue import driver as driver_module
from optml_queue.driver import ActiveTrial, algorithms_dir, load_driver
from optml_queue.errors import SpecError
from optml_queue.runner import run_serial
from optml_queue.search import segments
from optml_queue.spec import load_spec
from optml_queue.trial import TrialState
from tests.algorithms.test_imports import LIBRARIES, strangers

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def blocks() -> Iterator[tuple[str, str, str]]:
    """Language, name and content of every block of code that says what it is."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\w+) ?(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield block[1], block[2], block[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's reader is, with the files that the page tells to write."""
    for language, name, content in blocks():
        if name and language != "text":
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_all_files_of_an_algorithm_and_a_spec(folder: Path) -> None:
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert written == ["algorithms/smoothing/driver.py", "algorithms/smoothing/functions.py", "smoothing.yaml"]


def test_its_python_prints_what_it_says(folder: Path) -> None:
    (code,) = [content for language, name, content in blocks() if language == "python" and not name]
    (output,) = [content for language, name, content in blocks() if (language, name) == ("text", "output")]
    with redirect_stdout(StringIO()) as printed:
        exec(compile(code, str(PAGE), "exec"), {"__name__": "extending"})  # noqa: S102 - this repository's own page
    assert printed.getvalue() == output


def test_in_a_checkout_the_algorithm_is_found_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "__file__", str(folder / "optml_queue" / "driver.py"))
    assert algorithms_dir() == folder / "algorithms"
    spec = load_spec("smoothing.yaml")
    results = [result for _number, result in run_serial(spec)]
    assert len(results) == segments(spec).end == 10
    assert {result.state for result in results} == {TrialState.COMPLETE}
    assert all(set(result.metrics) == {"rmse", "mse"} for result in results)


def test_a_value_out_of_bounds_is_told_with_its_line(folder: Path) -> None:
    driver = load_driver("./algorithms/smoothing")
    with pytest.raises(SpecError, match=r"smoothing.yaml: parameters.alpha.max: must be <= 1, got 1.5"):
        load_spec("smoothing.yaml", ["parameters.alpha.max=1.5"], drivers={"smoothing": driver})


def test_it_keeps_to_what_algorithms_may_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIBRARIES, "smoothing", {"numpy"})
    for path in folder.rglob("*.py"):
        assert strangers(path.read_text(), "smoothing") == set()


def test_a_trial_leaves_its_data_alone_and_repeats_itself(folder: Path) -> None:
    spec = load_spec("smoothing.yaml", drivers={"smoothing": load_driver("./algorithms/smoothing")})
    first, again = (dict(run_serial(spec, [3], driver=load_driver("./algorithms/smoothing"))) for _ in range(2))
    assert first == again


def test_names_in_the_tables_are_those_of_the_contract() -> None:
    text = PAGE.read_text(encoding="utf-8")
    offered = set(re.findall(r"^\| `trial\.(\w+)", text, re.MULTILINE))
    assert all(hasattr(ActiveTrial, name) or name in ActiveTrial.__dataclass_fields__ for name in offered)
    assert {"params", "seed", "data", "report", "should_stop", "log", "metric", "threads"} <= offered
    declared = set(re.findall(r"^\| `(\w+)[(`]", text, re.MULTILINE))
    assert declared == {"PARAMETERS", "METRICS", "DATA", "OTHER_PARAMETERS", "train", "cost", "check", "prepare"}
