"""The benchmark as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("sleep", [[], ["--sleep", "0.01"]], ids=["training", "sleeping"])
def test_the_benchmark_measures_any_spec(tmp_path: Path, sleep: list[str]) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text("{name: small, algorithm: lms, parameters: {learning_rate: {values: [1e-6, 1e-7, 0.5]}}}")
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "serial_vs_queued.py"), str(spec)]
    command += ["--workers", "1", "--repeat", "1", "--output", str(tmp_path / "out"), *sleep]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    (path,) = (tmp_path / "out").glob("*.json")
    found = json.loads(path.read_text())
    assert found["trials"] == 3
    assert found["identical"] is (None if sleep else True)
    assert 0 < found["rows"]["warm"]["queued_s"] < found["rows"]["cold"]["queued_s"]
    assert found["rows"]["warm"]["last_visible_s"] < 1
