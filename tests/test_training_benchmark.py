"""The side-by-side benchmark: its arithmetic, and (slowly) that it runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module of their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(benchmark: ModuleType) -> Any:
    return benchmark.Report(
        scale=benchmark.FULL,
        lms_s={"ours": 4e-5, "NumPy loop": 4e-3},
        epoch_s={size: {"ours": 0.5, "Keras fit": 3.0, "torch loop": 1.0} for size in benchmark.SIZES},
        warmth=benchmark.Warmth(first_s=1.0, other_size_s=0.25, again_s=0.25, traced=1),
        grid=benchmark.Grid(configurations=20, epochs=1, ours_s=10.0, keras_s=65.0),
        memory={"ann": benchmark.Memory(total_mib=600.0, files_mib=300.0)},
        machine={"cpu": "a processor", "cores": "2", "system": "Linux", "python": "3.11"},
    )


def test_the_papers_grid_is_four_rates_of_ten_epochs_for_every_size(report: Any) -> None:
    assert report.paper_s("ours") == 5 * 4 * 10 * 0.5
    assert report.paper_s("Keras fit") == 6 * report.paper_s("ours")


def test_the_tables_relate_all_to_ours(benchmark: ModuleType, report: Any) -> None:
    lines = benchmark.markdown(report).splitlines()
    assert "| 512 | 0.500 | 3.000 | 1.000 | 6.0 | 2.0 |" in lines
    assert "| NumPy loop | 4.000 | 100 |" in lines
    assert "| ann | 600 | 300 |" in lines
    assert any(line.endswith("ours 100 s, Keras fit 600 s; 6.0 times.") for line in lines)
    assert any(line.endswith("ours 10.0 s, Keras 65.0 s; 6.5 times.") for line in lines)


def test_what_does_not_count_is_not_in_the_median(benchmark: ModuleType) -> None:
    calls: list[str] = []
    found = benchmark.taking_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert list(found) == ["a", "b"]


def test_tables_and_figures_are_stored(benchmark: ModuleType, report: Any, tmp_path: Path) -> None:
    benchmark.store(report, benchmark.markdown(report), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", "training.md"]
    found = json.loads((tmp_path / "training.json").read_text())
    assert found["grid_speedup"] == 6.5
    assert found["paper_s"] == {"ours": 100.0, "Keras fit": 600.0}


@pytest.mark.soak
def test_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(SCRIPT), "--quick", "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    found = json.loads((tmp_path / "training.json").read_text())
    assert found["warmth"]["traced"] == 1
    for epochs in found["epoch_s"].values():
        assert min(epochs, key=epochs.get) == "ours"
    assert min(found["lms_s"], key=found["lms_s"].get) == "ours"
    assert found["memory"]["ann"]["total_mib"] < 1024
