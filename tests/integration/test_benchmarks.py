"""The benchmark as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.integration


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text("{name: small, algorithm: lms, parameters: {learning_rate: {values: [1e-6, 0.5]}}}")
    return path


def benchmark(*arguments: str) -> str:
    """What the program prints."""
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "serial_vs_queued.py"), *arguments]
    return subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout


def test_the_benchmark_measures_any_spec(spec: Path, tmp_path: Path) -> None:
    benchmark(str(spec), "--workers", "1", "--repeat", "1", "--output", str(tmp_path / "out"))
    (path,) = (tmp_path / "out").glob("*.json")
    found = json.loads(path.read_text())
    assert found["trials"] == 2
    assert found["identical"] is True
    assert 0 < found["rows"]["warm"]["queued_s"] < found["rows"]["cold"]["queued_s"]
    assert found["rows"]["warm"]["last_visible_s"] < 1
    assert 0 < found["warm"]["cpu_outside"] <= 1


def test_trials_can_sleep_instead_of_training(spec: Path) -> None:
    found = json.loads(benchmark(str(spec), "--part", "serial", "--sleep", "0.05"))
    assert found["warm_s"] >= 2 * 0.05
