"""KLMS against an independent formulation, against pinned figures, and against LMS on the sunspots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optml_queue import metrics
from optml_queue.data import DataSpec, Series
from optml_queue.driver import ActiveTrial, Order, load_driver
from optml_queue.errors import AttemptEndedError, DataError, DivergedError
from optml_queue.runner import run_serial
from optml_queue.search import segments
from optml_queue.spec import load_spec
from optml_queue.trial import Params
from tests.datasets import series as series_of

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

Floats = npt.NDArray[np.float64]

klms = load_driver("klms")
driver_module = sys.modules[klms.train.__module__]
functions: ModuleType = sys.modules[f"{klms.train.__module__.rpartition('.')[0]}.functions"]

PAPER: dict[str, Any] = {"learning_step": 0.04, "kernel_width": 1 / 50_000}


def train(data: Series, seed: int = 0, metric: str = "", **params: Any) -> dict[str, float]:
    return dict(klms.train(ActiveTrial(0, klms.complete({**PAPER, **params}), seed, data, metric=metric)))


def reference(
    series: Series,
    learning_step: float = 0.04,
    kernel_width: float = 1 / 50_000,
    filter_size: int = 5,
    epsilon: float = 0.0,
    epochs: int = 1,
) -> dict[str, float]:
    """One row after another, a list of centres, and the formulas as the literature writes them."""
    (x, d), (x_test, d_test) = (
        (np.lib.stride_tricks.sliding_window_view(part, filter_size)[:-1], part[filter_size:])
        for part in series.parts()
    )
    centres: list[Floats] = []
    coefficients: list[float] = []

    def output(row: Floats) -> float:
        if not centres:
            return 0.0
        distances = np.linalg.norm(np.array(centres) - row, axis=1)
        return float(np.array(coefficients) @ np.exp(-kernel_width * distances**2))

    for row, target in [*zip(x, d, strict=True)] * epochs:
        error = target - output(row)
        distances = np.linalg.norm(np.array(centres) - row, axis=1) if centres else np.array([np.inf])
        if distances.min() <= epsilon:
            coefficients[int(distances.argmin())] += learning_step * error
        else:
            centres.append(row)
            coefficients.append(learning_step * error)
    y = np.array([output(row) for row in x_test])
    return {name: getattr(metrics, name)(d_test, y) for name in ("nmse", "mse", "rmse")}


@pytest.fixture
def sunspots() -> Series:
    return series_of(DataSpec("sunspots"))


@pytest.fixture
def wave() -> Series:
    steps = np.arange(300)
    noise = np.random.default_rng(0).normal(scale=0.2, size=300)
    return Series(3.0 + np.sin(steps / 5) + noise, 0.2, "")


@pytest.mark.training
class TestFigures:
    # Computed with a triangular system of all rows at once: (I + step · K) coefficients = step · targets.
    @pytest.mark.parametrize(
        ("learning_step", "kernel_width", "nmse"),
        [
            (0.04, 1 / 50_000, 0.10743045182591787),
            (0.1, 1 / 50_000, 0.09472334305163312),
            (0.04, 1e-4, 0.0752691967641769),
            (0.01, 1e-3, 2.3875),
        ],
    )
    def test_pinned(self, sunspots: Series, learning_step: float, kernel_width: float, nmse: float) -> None:
        found = train(sunspots, learning_step=learning_step, kernel_width=kernel_width)["nmse"]
        assert found == pytest.approx(nmse, rel=1e-9 if nmse < 1 else 1e-4)
        assert found == pytest.approx(self.solved(sunspots, learning_step, kernel_width), rel=1e-9)

    @staticmethod
    def solved(series: Series, learning_step: float, kernel_width: float) -> float:
        """Every coefficient at once: it depends on the ones before it alone, so they solve a triangular system."""
        (x, d), (x_test, d_test) = (
            (np.lib.stride_tricks.sliding_window_view(part, 5)[:-1], part[5:]) for part in series.parts()
        )

        def kernel(rows: Floats) -> Floats:
            squares = (rows**2).sum(1)[:, None] - 2 * rows @ x.T + (x**2).sum(1)
            kernels: Floats = np.exp(-kernel_width * squares)
            return kernels

        system = np.eye(len(x)) + learning_step * np.tril(kernel(x), -1)
        return metrics.nmse(d_test, kernel(x_test) @ np.linalg.solve(system, learning_step * d))

    @pytest.mark.parametrize(
        "point",
        [
            {},
            {"filter_size": 1, "kernel_width": 2.0},
            {"filter_size": 9, "learning_step": 0.3, "kernel_width": 0.1},
            {"epochs": 4, "kernel_width": 0.5},
            {"epsilon": 0.5, "kernel_width": 0.5, "learning_step": 0.2},
            {"epsilon": 1.5, "kernel_width": 0.5, "learning_step": 0.2, "epochs": 3},
            {"epsilon": 1e6, "kernel_width": 0.5},
        ],
    )
    def test_every_parameter_against_the_reference(self, wave: Series, point: dict[str, Any]) -> None:
        assert train(wave, metric="mse", **point) == pytest.approx(reference(wave, **{**PAPER, **point}), rel=1e-9)

    def test_a_repeated_row_adds_to_its_coefficient(self) -> None:
        series = Series(np.tile([1.0, 2.0, 4.0], 30), 0.2, "")
        point: dict[str, Any] = {"kernel_width": 0.5, "learning_step": 0.5, "filter_size": 2}
        # Three different rows: whether each has one centre or twenty makes no difference.
        assert train(series, **point) == pytest.approx(train(series, **point, epsilon=1e-9), rel=1e-9)

    def test_the_channel_by_its_mean_squared_error(self) -> None:
        channel = series_of(DataSpec("channel", {"samples": 400}))
        point: dict[str, Any] = {"kernel_width": 0.5, "learning_step": 0.1}
        assert train(channel, metric="mse", **point) == pytest.approx(reference(channel, **point), rel=1e-9)

    def test_the_seed_does_not_matter(self, wave: Series) -> None:
        assert train(wave, seed=1) == train(wave, seed=2)

    def test_integers_are_numbers_too(self, wave: Series) -> None:
        point: dict[str, Any] = {"learning_step": 1, "kernel_width": 1, "epsilon": 1}
        floats: dict[str, Any] = {name: float(value) for name, value in point.items()}
        assert train(wave, **point) == train(wave, **floats)


@pytest.mark.training
class TestSunspots:
    def test_some_point_of_the_example_beats_the_best_lms(self) -> None:
        ours, theirs = (self.best(EXAMPLES / f"{name}-sunspots.yaml") for name in ("klms", "lms"))
        assert theirs[0] == pytest.approx(0.07015, abs=1e-5)
        assert ours[0] == pytest.approx(0.05897, abs=1e-5)
        assert ours[1] == {
            "learning_step": 0.01,
            "kernel_width": 2e-5,
            "filter_size": 5,
            "epsilon": 0.0,
            "epochs": 10,
        }

    @staticmethod
    def best(example: Path) -> tuple[float, Params]:
        """The best complete trial, and its point; of the long ones only those that the winner is among."""
        spec = load_spec(example)
        plan = segments(spec)
        points = [
            (number, params)
            for number, params, _seed in plan
            if params.get("epochs", 10) == 10 and params.get("learning_step", 0.01) == 0.01
        ]
        results = dict(run_serial(spec, [number for number, _params in points]))
        complete = [(number, params) for number, params in points if results[number].state == "complete"]
        number, params = min(complete, key=lambda point: results[point[0]].metrics["nmse"])
        return results[number].metrics["nmse"], params

    def test_it_beats_lms_with_as_many_passes_over_as_many_values(self, sunspots: Series) -> None:
        lms = load_driver("lms")
        errors = []
        for learning_rate in np.geomspace(1e-7, 1e-6, 30).tolist():
            point = lms.complete({"learning_rate": learning_rate, "epochs": 10})
            errors.append(lms.train(ActiveTrial(0, point, 0, sunspots))["nmse"])
        assert train(sunspots, learning_step=0.01, kernel_width=2e-5, epochs=10)["nmse"] < min(errors)

    def test_quantisation_keeps_the_quality_with_a_fraction_of_the_centres(self, sunspots: Series) -> None:
        inputs, _targets = functions.embed(sunspots.parts()[0], 5)
        centres, _nearest = functions.quantise(inputs, 20.0)
        assert len(centres) == 567
        assert len(inputs) == 2533
        point: dict[str, Any] = {"learning_step": 0.01, "epochs": 10}
        whole, quantised = train(sunspots, **point), train(sunspots, **point, epsilon=20.0)
        assert quantised["nmse"] == pytest.approx(whole["nmse"], rel=0.01)


class TestQuantisation:
    @given(
        inputs=arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-10, 10)),
        epsilon=st.floats(0.01, 30),
    )
    def test_rows_belong_to_the_nearest_centre_of_their_time(self, inputs: Floats, epsilon: float) -> None:
        centres, nearest = functions.quantise(inputs, epsilon)
        assert set(nearest) == set(range(len(centres)))
        known = 0
        for row, centre in zip(inputs, nearest, strict=True):
            distances = ((centres[:known] - row) ** 2).sum(axis=1)
            if centre == known:  # a new one
                assert (centres[known] == row).all()
                assert (distances > epsilon**2 * (1 - 1e-9)).all()
                known += 1
            else:
                assert distances[centre] <= epsilon**2 * (1 + 1e-9)
                assert distances[centre] <= distances.min() * (1 + 1e-9) + 1e-12

    def test_without_it_every_row_is_a_centre(self) -> None:
        inputs = np.ones((3, 2))
        centres, nearest = functions.quantise(inputs, 0.0)
        assert centres is inputs
        assert nearest.tolist() == [0, 1, 2]


class TestKernels:
    @given(rows=st.integers(1, 5000), centres=st.integers(1, 100_000))
    def test_blocks_follow_each_other_over_all_rows(self, rows: int, centres: int) -> None:
        parts = list(functions.blocks(rows, centres))
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
        assert all((part.stop - part.start) * centres <= max(functions.BLOCK_KERNELS, centres) for part in parts)

    def test_kept_ones_and_ones_computed_anew_agree_in_every_bit(
        self, wave: Series, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point: dict[str, Any] = {"epochs": 3, "kernel_width": 0.5, "epsilon": 0.5}
        kept = train(wave, **point)
        monkeypatch.setattr(driver_module, "KEPT_BYTES", 0)
        assert train(wave, **point) == kept

    def test_nothing_is_compiled(self) -> None:
        code = """
import sys
from optml_queue.data import DataSpec, load
from optml_queue.driver import ActiveTrial, load_driver
klms = load_driver("klms")
klms.train(ActiveTrial(0, klms.complete({"learning_step": 0.04, "kernel_width": 2e-5}), 0, load(DataSpec("sunspots"))))
sys.exit(any(name in sys.modules for name in ("numba", "scipy", "tensorflow")))
"""
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestDivergence:
    @pytest.mark.parametrize("epochs", [1, 3])
    def test_predictions_that_are_not_finite(self, sunspots: Series, epochs: int) -> None:
        with pytest.raises(DivergedError, match="the predictions are not finite") as raised:
            train(sunspots, learning_step=1e3, epochs=epochs)
        assert set(raised.value.metrics) == {"nmse", "mse", "rmse"}

    def test_an_error_far_above_the_variance(self, sunspots: Series) -> None:
        with pytest.raises(DivergedError, match=r"mse .* is over 1000 times the variance of the targets"):
            train(sunspots, learning_step=2.05, kernel_width=1e-5, metric="mse")

    def test_a_negative_nmse(self, wave: Series) -> None:
        turned = Series(np.concatenate([wave.values[:240], -wave.values[240:]]), 0.2, "")
        assert train(turned, metric="mse")["nmse"] < 0
        with pytest.raises(DivergedError, match="nmse is negative"):
            train(turned)

    def test_a_kernel_too_narrow_for_any_other_row_predicts_nothing(self, wave: Series) -> None:
        found = train(wave, kernel_width=1e9)
        assert found["nmse"] == np.inf
        assert found["mse"] == pytest.approx(float((wave.parts()[1][5:] ** 2).mean()))


class TestShortSeries:
    @pytest.mark.parametrize(
        ("rows", "test", "part"),
        [(60, 0.1, "test part of the data has 6"), (12, 0.6, "training part of the data has 5")],
    )
    def test_a_filter_must_be_shorter_than_both_parts(self, rows: int, test: float, part: str) -> None:
        series = Series(np.arange(rows, dtype=np.float64), test, "")
        with pytest.raises(DataError, match=rf"filter_size 6 is too long: the {part} values"):
            train(series, filter_size=6)

    def test_one_row_to_train_and_one_to_test_on_are_enough(self) -> None:
        series = Series(np.linspace(1.0, 2.0, 12), 0.5, "")
        assert train(series, filter_size=5)["mse"] >= 0.0


class TestReports:
    def test_one_pass_reports_nothing(self, wave: Series) -> None:
        assert list(self.reports(wave, 1, "")) == []

    @pytest.mark.parametrize("metric", ["", "nmse", "mse"])
    def test_every_epoch_reports_the_judged_metric(self, wave: Series, metric: str) -> None:
        expected = [train(wave, kernel_width=0.5, epochs=epochs)[metric or "nmse"] for epochs in (1, 2, 3)]
        assert list(self.reports(wave, 3, metric)) == list(zip((1, 2, 3), expected, strict=True))

    @staticmethod
    def reports(data: Series, epochs: int, metric: str) -> Iterator[tuple[int, float]]:
        seen: list[tuple[int, float]] = []

        def report(step: int, value: float) -> Order:
            seen.append((step, value))
            return Order.OK

        point: Params = {**PAPER, "kernel_width": 0.5, "epochs": epochs}
        klms.train(ActiveTrial(0, klms.complete(point), 0, data, on_report=report, metric=metric))
        yield from seen

    def test_an_order_ends_the_training_at_the_epoch(self, wave: Series) -> None:
        steps = []

        def report(step: int, _value: float) -> Order:
            steps.append(step)
            return Order.STOP if step == 2 else Order.OK

        with pytest.raises(AttemptEndedError):
            klms.train(ActiveTrial(0, klms.complete({**PAPER, "epochs": 50}), 0, wave, on_report=report))
        assert steps == [1, 2]


def test_the_cost_is_the_number_of_multiply_adds() -> None:
    assert klms.cost is not None
    assert klms.cost(klms.complete({**PAPER, "filter_size": 8, "epochs": 3}), 1000) == 7e6
