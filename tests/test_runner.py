"""One attempt of one trial: what a driver returns or raises, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest

from optml_queue.data import DataSpec
from optml_queue.driver import ActiveTrial, Driver, Goal, Order, load_driver
from optml_queue.errors import AttemptEndedError, AttemptFailedError
from optml_queue.runner import TRACEBACK_BYTES, run_attempt, run_serial
from optml_queue.spec import Spec, parse_spec
from optml_queue.trial import Reason, TrialResult, TrialState
from tests.datasets import series as series_of

DRIVER = """
import numpy as np
from optml_queue.driver import Goal, Metric, Parameter
from optml_queue.errors import DivergedError
from .functions import fail

PARAMETERS = (Parameter("rate", float, 0.5), Parameter("sizes", list, default=[1]))
METRICS = (Metric("loss"), Metric("score", Goal.MAXIMIZE))
DATA = ("sunspots",)


def train(trial):
"""
FUNCTIONS = """
def fail(depth):
    if depth == 0:
        raise ValueError("the matrix is\\nsingular")
    fail(depth - 1)
"""


def driver_of(folder: Path, body: str) -> Driver:
    algorithm = folder / "custom"
    algorithm.mkdir(exist_ok=True)
    (algorithm / "functions.py").write_text(FUNCTIONS)
    (algorithm / "driver.py").write_text(DRIVER + indent(dedent(body), "    "))
    return load_driver(algorithm)


def attempt(folder: Path, body: str, *, at: str = "last", metric: str = "loss", data: object = None) -> TrialResult:
    trial = ActiveTrial(number=7, params={"rate": 0.25}, seed=3)
    return run_attempt(driver_of(folder, body), data, trial, metric=metric, at=at)


def failure(folder: Path, body: str) -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as raised:
        attempt(folder, body)
    return raised.value


class TestResult:
    def test_the_driver_gets_point_defaults_data_and_metric(self, tmp_path: Path) -> None:
        body = """
        assert (trial.number, trial.seed, trial.metric, trial.data) == (7, 3, "score", "the data")
        assert trial.params == {"rate": 0.25, "sizes": [1]}
        return {"loss": 1, "score": 2.5}
        """
        result = attempt(tmp_path, body, metric="score", data="the data")
        assert result == TrialResult(TrialState.COMPLETE, {"loss": 1.0, "score": 2.5})

    def test_numbers_of_any_library_become_floats(self, tmp_path: Path) -> None:
        result = attempt(tmp_path, 'return {"loss": np.float32(0.5), "score": np.int64(3), "extra": np.array(2.0)}')
        assert result.metrics == {"loss": 0.5, "score": 3.0, "extra": 2.0}
        assert {type(value) for value in result.metrics.values()} == {float}

    def test_the_trial_given_is_left_as_it_is(self, tmp_path: Path) -> None:
        trial = ActiveTrial(number=0, params={"sizes": [4]}, seed=0)
        driver = driver_of(tmp_path, 'trial.params["sizes"].append(5)\nreturn {"loss": 0, "score": 0}')
        run_attempt(driver, None, trial, metric="loss")
        assert trial == ActiveTrial(number=0, params={"sizes": [4]}, seed=0)

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_a_metric_that_is_not_finite_is_diverged(self, tmp_path: Path, value: str) -> None:
        result = attempt(tmp_path, f'return {{"loss": float("{value}"), "score": 1}}')
        assert (result.state, result.reason) == (TrialState.DIVERGED, f"loss is {value}")
        assert result.metrics["score"] == 1.0

    def test_a_metric_that_nobody_asked_for_may_be_anything(self, tmp_path: Path) -> None:
        result = attempt(tmp_path, 'return {"loss": 1, "score": float("nan")}')
        assert result.state is TrialState.COMPLETE
        assert math.isnan(result.metrics["score"])

    def test_a_driver_can_call_its_trial_diverged(self, tmp_path: Path) -> None:
        result = attempt(tmp_path, 'raise DivergedError("ran away", {"loss": -5.0})')
        assert result == TrialResult(TrialState.DIVERGED, {"loss": -5.0}, "ran away")


class TestBestOfReported:
    BODY = """
    for step, value in enumerate((3.0, 1.0, float("nan"), 2.0)):
        trial.report(step, value)
    return {"loss": 2.0, "score": 0.0}
    """

    def test_the_metric_is_the_best_report(self, tmp_path: Path) -> None:
        assert attempt(tmp_path, self.BODY, at="best").metrics["loss"] == 1.0
        assert attempt(tmp_path, self.BODY, at="last").metrics["loss"] == 2.0

    def test_best_goes_by_the_goal(self, tmp_path: Path) -> None:
        assert attempt(tmp_path, self.BODY, at="best", metric="score").metrics["score"] == 3.0
        trial = ActiveTrial(0, {}, 0)
        driver = driver_of(tmp_path, self.BODY)
        assert run_attempt(driver, None, trial, metric="loss", at="best", goal=Goal.MAXIMIZE).metrics["loss"] == 3.0

    def test_reports_still_reach_the_store(self, tmp_path: Path) -> None:
        seen = []

        def report(step: int, value: float) -> Order:
            seen.append(step)
            return Order.OK

        trial = ActiveTrial(0, {}, 0, on_report=report)
        run_attempt(driver_of(tmp_path, self.BODY), None, trial, metric="loss", at="best")
        assert seen == [0, 1, 2, 3]

    def test_a_checkpoint_carries_the_best_before_it(self, tmp_path: Path) -> None:
        kept: list[Mapping[str, object]] = []

        def keep(state: Mapping[str, object]) -> Order:
            kept.append(state)
            return Order.RELEASE

        body = """
        state = trial.restore()
        assert state in (None, {"step": 2})
        if state is None:
            trial.report(1, 1.0)
            trial.report(2, 3.0)
            trial.checkpoint({"step": 2})
        trial.report(3, 2.0)
        return {"loss": 2.5, "score": 0.0}
        """
        trial = ActiveTrial(0, {}, 0, on_checkpoint=keep, on_restore=lambda: dict(kept[-1]) if kept else None)
        driver = driver_of(tmp_path, body)
        with pytest.raises(AttemptEndedError):
            run_attempt(driver, None, trial, metric="loss", at="best")
        assert run_attempt(driver, None, trial, metric="loss", at="best").metrics["loss"] == 1.0


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "reason", "told"),
        [
            ("None", Reason.NO_METRIC, "train must return a mapping of metrics, but returned NoneType None"),
            ("0.5", Reason.NO_METRIC, "train must return a mapping of metrics, but returned float 0.5"),
            ("{}", Reason.NO_METRIC, "train returned no loss and no score; it returned nothing"),
            ('{"loss": 1.0}', Reason.NO_METRIC, "train returned no score; it returned loss"),
            ('{"loss": "low", "score": 1}', Reason.BAD_METRIC, "the metric loss must be a number, got str 'low'"),
            ('{"loss": True, "score": 1}', Reason.BAD_METRIC, "the metric loss must be a number, got bool True"),
            (
                '{"loss": np.zeros(2), "score": 1}',
                Reason.BAD_METRIC,
                "the metric loss must be a number, got ndarray array([0., 0.])",
            ),
            ('{"loss": 1j, "score": 1}', Reason.BAD_METRIC, "the metric loss must be a number, got complex 1j"),
        ],
    )
    def test_an_answer_without_its_metrics(self, tmp_path: Path, answer: str, reason: Reason, told: str) -> None:
        failed = failure(tmp_path, f"return {answer}")
        assert (failed.reason, failed.error) == (reason, f"algorithm custom: {told}")

    def test_an_optional_metric_may_be_missing_unless_it_is_judged_by(self, tmp_path: Path) -> None:
        body = 'return {"loss": 1.0}'
        driver = driver_of(tmp_path, body)
        optional = replace(driver, metrics={**driver.metrics, "score": replace(driver.metrics["score"], optional=True)})
        trial = ActiveTrial(0, {}, 0)
        assert run_attempt(optional, None, trial, metric="loss").metrics == {"loss": 1.0}
        with pytest.raises(AttemptFailedError, match="train returned no score; it returned loss"):
            run_attempt(optional, None, trial, metric="score")

    def test_an_exception_is_one_line_and_a_traceback_of_the_algorithm(self, tmp_path: Path) -> None:
        failed = failure(tmp_path, "fail(2)")
        assert (failed.reason, failed.error) == (Reason.ERROR, "ValueError: the matrix is singular")
        assert isinstance(failed.__cause__, ValueError)
        lines = failed.traceback.splitlines()
        assert lines[1].startswith(f'  File "{tmp_path / "custom" / "driver.py"}", line')
        assert "fail(depth - 1)" in failed.traceback
        assert "runner.py" not in failed.traceback

    def test_a_long_traceback_keeps_its_end(self, tmp_path: Path) -> None:
        failed = failure(tmp_path, 'raise ValueError("\\n".join(f"row {i} ünusable" for i in range(5000)))')
        assert len(failed.traceback.encode()) <= TRACEBACK_BYTES + len("…\n".encode())
        assert failed.traceback.startswith("…\nrow ")
        assert failed.traceback.endswith("row 4999 ünusable\n")
        assert len(failed.error) < 600

    def test_running_out_of_memory_has_its_own_reason(self, tmp_path: Path) -> None:
        assert failure(tmp_path, "raise MemoryError").reason is Reason.OUT_OF_MEMORY
        assert failure(tmp_path, "np.zeros(2**50)").reason is Reason.OUT_OF_MEMORY

    @pytest.mark.parametrize("statement", ["raise SystemExit(3)", "import sys; sys.exit('3')"])
    def test_an_algorithm_cannot_end_the_worker(self, tmp_path: Path, statement: str) -> None:
        assert failure(tmp_path, statement).error == "SystemExit: 3"

    @pytest.mark.parametrize(
        "statement", ["class Shutdown(SystemExit): pass\nraise Shutdown", "raise KeyboardInterrupt"]
    )
    def test_the_worker_itself_can(self, tmp_path: Path, statement: str) -> None:
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            attempt(tmp_path, statement)

    @pytest.mark.parametrize("order", [Order.STOP, Order.CANCEL, Order.RELEASE, Order.ABORT])
    def test_an_attempt_that_was_told_to_end_is_no_failure(self, tmp_path: Path, order: Order) -> None:
        trial = ActiveTrial(0, {}, 0, on_report=lambda _step, _value: order)
        with pytest.raises(AttemptEndedError) as raised:
            run_attempt(driver_of(tmp_path, "trial.report(1, 0.0)"), None, trial, metric="loss")
        assert raised.value.order == order


class TestSerial:
    @staticmethod
    def spec(more: str = "") -> Spec:
        text = f"""
name: serial
algorithm: lms
method: grid
metric: nmse
parameters:
  learning_rate: {{values: [1e-6, 0.5]}}
  filter_size: {{values: [3, 5]}}
seeds: [0, 1]
{more}
"""
        return parse_spec(text, "serial.yaml", Path())

    def test_every_trial_in_order(self) -> None:
        results = dict(run_serial(self.spec()))
        assert list(results) == list(range(8))
        assert [result.state for result in results.values()] == [TrialState.COMPLETE] * 4 + [TrialState.DIVERGED] * 4
        assert len({result.metrics["nmse"] for result in list(results.values())[:4]}) == 4

    def test_again_gives_the_same_bits(self) -> None:
        first, again = (dict(run_serial(self.spec(), range(4))) for _ in range(2))
        assert first == again

    def test_some_trials_alone_equal_those_of_the_whole(self) -> None:
        whole = dict(run_serial(self.spec()))
        assert dict(run_serial(self.spec(), [3, 1])) == {3: whole[3], 1: whole[1]}

    def test_gaps_in_the_numbers_are_passed_over(self) -> None:
        spec = self.spec('exclude: ["filter_size == 3 and learning_rate > 0.1"]')
        assert [number for number, _ in run_serial(spec)] == [0, 1, 2, 3, 6, 7]

    def test_max_trials_bounds_the_whole(self) -> None:
        spec = self.spec('exclude: ["filter_size == 3 and learning_rate > 0.1"]\nmax_trials: 5')
        assert [number for number, _ in run_serial(spec)] == [0, 1, 2, 3, 6]

    def test_a_failure_does_not_stop_the_rest(self) -> None:
        spec = parse_spec(
            """
name: too-long
algorithm: lms
method: grid
metric: nmse
parameters:
  learning_rate: {value: 1e-6}
  filter_size: {values: [282, 281]}
""",
            "too-long.yaml",
            Path(),
        )
        failed, complete = (result for _, result in run_serial(spec))
        assert failed.state is TrialState.FAILED
        assert failed.reason.startswith("DataError: filter_size 282 is too long: the test part of the data has 282")
        assert complete.state is TrialState.COMPLETE


def test_a_driver_cannot_change_the_data_of_others(tmp_path: Path) -> None:
    series = series_of(DataSpec("sunspots"))
    with pytest.raises(AttemptFailedError, match="read-only"):
        attempt(tmp_path, "trial.data.values[0] = 0.0", data=series)
    assert np.isfinite(series.values).all()
