"""Every example is valid, and is what its first lines say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from optml_queue.runner import run_serial
from optml_queue.search import segments
from optml_queue.spec import load_spec
from optml_queue.trial import TrialState

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_as_many_trials_as_its_comment_says(path: Path) -> None:
    spec = load_spec(path)
    plan = segments(spec)
    trials, is_exact = plan.count(20_000)
    said = re.search(r"^# ([\d,]+) trials\b", path.read_text(), re.MULTILINE)
    assert said is not None
    assert is_exact
    assert trials == int(said[1].replace(",", ""))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_the_command_that_runs_it(path: Path) -> None:
    assert f"#     optml-submit examples/{path.name}" in path.read_text()


def test_the_papers_rates_are_all_there_once() -> None:
    plan = segments(load_spec(ROOT / "examples" / "lms-sunspots.yaml"))
    taken, _next = plan.take(0, 100, None)
    rates = [params["learning_rate"] for _number, params, _seed in taken]
    expected = [0.5, *(digit * 10.0**-power for power in range(1, 9) for digit in (1, 0.5))][:16]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert all(params["filter_size"] == 5 for _number, params, _seed in taken)


def test_the_papers_networks_are_all_there_once_under_every_rate() -> None:
    spec = load_spec(ROOT / "examples" / "ann-mnist.yaml")
    points = [params for _number, params, _seed in segments(spec).take(0, 100, None)[0]]
    assert [(params["learning_rate"], params["network_size"]) for params in points] == [
        (rate, [units]) for rate in (0.001, 0.01, 0.1, 0.5) for units in (2, 8, 32, 128, 512)
    ]
    completed = [spec.driver.complete(params) for params in points]
    assert all(
        (point["epochs"], point["batch_size"], point["loss_function"], point["optimizer"], point["activation"])
        == (10, 32, "mse", "sgd", "relu")
        for point in completed
    )


@pytest.mark.parametrize(("name", "best", "diverged"), [("program", 0.573, 0), ("command-shell", 0.0, 3)])
def test_the_users_own_code_runs(name: str, best: float, diverged: int) -> None:
    spec = load_spec(ROOT / "examples" / f"{name}.yaml")
    results = [result for _number, result in run_serial(spec)]
    assert sum(result.state is TrialState.DIVERGED for result in results) == diverged
    complete = [result.metrics[spec.metric] for result in results if result.state is TrialState.COMPLETE]
    assert len(complete) == len(results) - diverged
    assert min(complete) == pytest.approx(best, abs=1e-3)


def test_a_command_reads_the_data_and_writes_its_metric_into_a_file() -> None:
    spec = load_spec(ROOT / "examples" / "command-python.yaml")
    ((_number, first), (_another, last)) = run_serial(spec, [0, 8])
    assert 15 < first.metrics["rmse"] < 25
    assert first.metrics["rmse"] != last.metrics["rmse"]


def test_a_command_in_r_runs() -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is missing; on Debian, install r-base-core")
    spec = load_spec(ROOT / "examples" / "command-r.yaml")
    ((_number, result),) = run_serial(spec, [7])
    assert result.state is TrialState.COMPLETE, result.reason
    assert 14 < result.metrics["rmse"] < 17


@pytest.mark.training
def test_an_architecture_search_tries_networks_of_every_depth() -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is missing; install optml-queue[tensorflow]")
    parameters = ["activation.value=relu", "optimizer.value=adam", "epochs.value=2", "network_size.list.max_length=2"]
    short = ["max_trials=30", "early_stopping.max_steps=2", *(f"parameters.{each}" for each in parameters)]
    spec = load_spec(ROOT / "examples" / "nas-mlp.yaml", short)
    results = [result for _number, result in run_serial(spec)]
    ends = {state: sum(result.state is state for result in results) for state in TrialState}
    assert ends[TrialState.COMPLETE] + ends[TrialState.STOPPED_EARLY] == 30
    assert ends[TrialState.STOPPED_EARLY] > 5
    sizes = {result.metrics["parameters_count"] for result in results if result.state is TrialState.COMPLETE}
    assert len(sizes) > 2
    assert min(result.metrics["error_rate"] for result in results) < 0.3


@pytest.mark.training
@pytest.mark.parametrize(("name", "package"), [("torch_mlp", "torch"), ("keras_cnn", "tensorflow")])
def test_a_program_with_a_large_library_runs_or_says_what_it_lacks(name: str, package: str) -> None:
    program = "from optml_queue.cli.main import main; main()"
    command = [sys.executable, "-c", program, "run", str(ROOT / "examples" / f"{name}.yaml")]
    command += ["--trial", "0", "--json", "--set", "parameters.epochs.value=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if find_spec(package) is None:
        assert done.returncode == 1
        assert f"program train.py: this machine lacks the package {package}" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    (trial,) = json.loads(done.stdout)
    assert trial["state"] == "complete"
    assert 0 < trial["metrics"]["error_rate"] < 0.85  # of ten digits, guessing misses nine
