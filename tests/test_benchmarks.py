"""The benchmark's arithmetic, without running anything."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "serial_vs_queued.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serial_vs_queued", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module of their annotations
    spec.loader.exec_module(module)
    return module


def report(benchmark: ModuleType, **changes: Any) -> Any:
    facts = {
        "spec": "examples/lms-sunspots.yaml",
        "trials": 16,
        "workers": 8,
        "sleep_s": None,
        "serial": benchmark.Serial(cold_s=17.0, warm_s=16.0, digest="a", extrapolated=False),
        "cold": benchmark.Queued(duration_s=4.0, median_wait_s=0.5, last_visible_s=0.02, digest="a"),
        "warm": benchmark.Queued(duration_s=2.5, median_wait_s=0.25, last_visible_s=0.01, digest="a"),
        "warm_runs": 3,
        "fresh_process_s": 1.5,
        "fresh_processes": 5,
        "kubernetes": benchmark.kubernetes(trials=16, workers=8),
        "machine": {"cpu": "a processor", "cores": "2", "system": "Linux", "python": "3.11"},
    }
    return benchmark.Report(**{**facts, **changes})


def test_the_row_relates_queued_to_serial(benchmark: ModuleType) -> None:
    row = report(benchmark).rows()["warm"]
    assert row["speedup"] == 6.4
    assert row["efficiency"] == 0.8
    assert row["trials_per_s"] == 6.4
    assert row["overhead_per_trial_s"] == 0.25
    assert report(benchmark).rows()["cold"]["speedup"] == 4.25


def test_fresh_processes_go_in_rounds_of_as_many_as_there_are_workers(benchmark: ModuleType) -> None:
    assert report(benchmark).fresh_s == 3.0
    assert report(benchmark, workers=5).fresh_s == 6.0


def test_results_are_compared_only_where_they_can_be(benchmark: ModuleType) -> None:
    other = benchmark.Queued(duration_s=1.0, median_wait_s=0.0, last_visible_s=0.0, digest="b")
    assert report(benchmark).identical is True
    assert report(benchmark, warm=other).identical is False
    assert report(benchmark, warm=other, sleep_s=1.0).identical is None
    assert "to the last bit: NO" in benchmark.markdown(report(benchmark, warm=other))


def test_cpu_time_is_told_apart_by_who_trains(benchmark: ModuleType) -> None:
    host, main, child, submitter = 10, 11, 12, 13
    before = {host: (1, 5.0), main: (host, 1.0), child: (main, 2.0), submitter: (1, 0.5)}
    after = {host: (1, 5.5), main: (host, 1.25), child: (main, 11.0), submitter: (1, 0.75)}
    assert benchmark.part_outside(before, after, {main}) == pytest.approx(0.1)
    assert benchmark.part_outside({}, {}, {main}) is None


def test_jobs_cost_by_the_trial_and_workers_do_not(benchmark: ModuleType) -> None:
    few, many = benchmark.kubernetes(10, 8), benchmark.kubernetes(10_000, 8)
    assert (few.job_objects, few.job_writes) == (80, 160)
    assert many.job_writes == 1_000 * few.job_writes
    assert many.deployment_writes == few.deployment_writes == 5 + 8 * 9


def test_a_digest_tells_results_that_differ_in_the_last_bit(benchmark: ModuleType) -> None:
    results = [(0, "complete", {"mse": 0.1}), (1, "diverged", {"mse": float("nan")})]
    assert benchmark.digest(results) == benchmark.digest(results[::-1])
    assert benchmark.digest(results) != benchmark.digest([(0, "complete", {"mse": 0.1 + 2**-56}), results[1]])


def test_table_json_and_plot_are_stored(benchmark: ModuleType, tmp_path: Path) -> None:
    found = report(benchmark, sleep_s=0.5)
    text = benchmark.markdown(found)
    benchmark.store(found, text, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"lms-sunspots-sleep-0.5.{ending}" for ending in ("json", "md", "png")
    ]
    header, _rule, cold, warm = [line for line in text.splitlines() if line.startswith("|")]
    assert header.count("|") == cold.count("|") == warm.count("|")
