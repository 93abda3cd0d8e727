"""LMS against an independent formulation, against pinned figures, and its two ways of computing against each other."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optml_queue import metrics
from optml_queue.data import DataSpec, Series
from optml_queue.driver import ActiveTrial, Order, load_driver
from optml_queue.errors import AttemptEndedError, DataError, DivergedError
from optml_queue.trial import Params
from tests.datasets import series as series_of

Floats = npt.NDArray[np.float64]

lms = load_driver("lms")
driver_module = sys.modules[lms.train.__module__]
package = lms.train.__module__.rpartition(".")[0]
functions: ModuleType = sys.modules[f"{package}.functions"]
compilation: ModuleType = sys.modules[f"{package}.compilation"]


def train(data: Series, seed: int = 0, metric: str = "", **params: Any) -> dict[str, float]:
    trial = ActiveTrial(0, lms.complete(params), seed, data, metric=metric)
    return dict(lms.train(trial))


def reference(
    series: Series, learning_rate: float, filter_size: int = 5, seed: int = 0, epochs: int = 1, normalized: bool = False
) -> dict[str, float]:
    """The filter with its embedding built, NumPy's dot product and the formulas as the literature writes them."""
    (x, d), (x_test, d_test) = (
        (np.lib.stride_tricks.sliding_window_view(part, filter_size)[:-1], part[filter_size:])
        for part in series.parts()
    )
    w = np.random.default_rng(seed).random(filter_size)
    for row, target in [*zip(x, d, strict=True)] * epochs:
        step = learning_rate / (1e-3 + row @ row) if normalized else learning_rate
        w = w + step * (target - w @ row) * row
    y = x_test @ w
    return {name: getattr(metrics, name)(d_test, y) for name in ("nmse", "mse", "rmse")}


@pytest.fixture
def sunspots() -> Series:
    return series_of(DataSpec("sunspots"))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A process that has just begun: nothing compiled, nothing spent."""
    fresh = compilation.Compilation()
    monkeypatch.setattr(driver_module, "compilation", fresh)
    return fresh


@pytest.fixture(scope="module")
def compiled() -> tuple[Any, Any]:
    """`adapt` and `error_sums` as numba makes them."""
    adapt, error_sums = compilation.Compilation().loops(taps_ahead=10**12)  # so many that it compiles
    return adapt, error_sums


class TestFigures:
    # The learning rates of the classic grid under which the filter converges, on the shipped series.
    @pytest.mark.parametrize(
        ("learning_rate", "nmse"),
        [
            (1e-5, 0.09457864292711671),
            (5e-6, 0.0701531084702402),
            (1e-6, 0.07170388387797744),
            (5e-7, 0.0719741820825028),
            (1e-7, 0.07225364620221991),
            (5e-8, 0.0745031061952712),
            (1e-8, 0.27394503811909726),
        ],
    )
    def test_pinned(self, sunspots: Series, learning_rate: float, nmse: float) -> None:
        assert train(sunspots, learning_rate=learning_rate)["nmse"] == pytest.approx(nmse, rel=1e-13)
        assert reference(sunspots, learning_rate)["nmse"] == pytest.approx(nmse, rel=1e-9)

    @pytest.mark.parametrize("learning_rate", [0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 5e-4, 1e-4, 5e-5])
    def test_higher_rates_diverge(self, sunspots: Series, learning_rate: float) -> None:
        with pytest.raises(DivergedError) as raised:
            train(sunspots, learning_rate=learning_rate)
        assert set(raised.value.metrics) == {"nmse", "mse", "rmse"}

    @pytest.mark.parametrize(
        "point",
        [
            {"learning_rate": 1e-6, "filter_size": 1},
            {"learning_rate": 1e-6, "filter_size": 12, "seed": 3},
            {"learning_rate": 5e-7, "epochs": 4, "seed": 1},
            {"learning_rate": 0.05, "normalized": True},
            {"learning_rate": 0.5, "normalized": True, "filter_size": 9, "epochs": 2, "seed": 2},
        ],
    )
    def test_every_parameter_against_the_reference(self, sunspots: Series, point: dict[str, Any]) -> None:
        assert train(sunspots, **point) == pytest.approx(reference(sunspots, **point), rel=1e-9)

    def test_the_channel_by_its_mean_squared_error(self) -> None:
        channel = series_of(DataSpec("channel"))
        expected = reference(channel, 0.01)
        assert train(channel, metric="mse", learning_rate=0.01) == pytest.approx(expected, rel=1e-9)

    def test_the_seed_decides_the_bits(self, sunspots: Series) -> None:
        first, again, other = (train(sunspots, seed=seed, learning_rate=1e-6) for seed in (1, 1, 2))
        assert first == again != other

    def test_an_integer_rate_is_a_rate(self, sunspots: Series) -> None:
        point: dict[str, Any] = {"normalized": True, "filter_size": 3}
        assert train(sunspots, learning_rate=1, **point) == train(sunspots, learning_rate=1.0, **point)

    def test_initial_weights_are_numpys(self) -> None:
        assert functions.initialise(5, 7).tolist() == np.random.default_rng(7).random(5).tolist()


class TestDivergence:
    def test_predictions_that_are_not_finite(self, sunspots: Series) -> None:
        with pytest.raises(DivergedError, match="the predictions are not finite"):
            train(sunspots, learning_rate=0.5)

    def test_a_negative_nmse(self, sunspots: Series) -> None:
        with pytest.raises(DivergedError, match=r"nmse is negative \(-2.5"):
            train(sunspots, learning_rate=5e-5)

    def test_an_error_far_above_the_variance(self, sunspots: Series) -> None:
        with pytest.raises(DivergedError, match=r"mse .* is over 1000 times the variance of the targets"):
            train(sunspots, learning_rate=5e-5, metric="mse")

    def test_a_negative_nmse_says_nothing_of_the_mse(self) -> None:
        channel = series_of(DataSpec("channel"))
        with pytest.raises(DivergedError, match="nmse is negative"):
            train(channel, learning_rate=0.01)
        # Noise cannot be predicted: the best filter's error is about the variance, with a mean around zero.
        found = train(channel, learning_rate=0.01, metric="mse")
        assert found["nmse"] < 0 < found["mse"] < 1.5 * float(channel.parts()[1].var())

    def test_a_constant_test_part_has_no_scale(self) -> None:
        series = Series(np.ones(100), 0.2, "")
        assert train(series, learning_rate=0.1)["mse"] < 1e-6


class TestShortSeries:
    @pytest.mark.parametrize(
        ("rows", "test", "part"),
        [(60, 0.1, "test part of the data has 6"), (12, 0.6, "training part of the data has 5")],
    )
    def test_a_filter_must_be_shorter_than_both_parts(self, rows: int, test: float, part: str) -> None:
        series = Series(np.arange(rows, dtype=np.float64), test, "")
        with pytest.raises(DataError, match=rf"filter_size 6 is too long: the {part} values"):
            train(series, learning_rate=1e-6, filter_size=6)

    def test_one_row_to_test_on_is_enough(self) -> None:
        series = Series(np.linspace(1.0, 2.0, 60), 0.1, "")
        assert train(series, learning_rate=1e-3, filter_size=5)["mse"] >= 0.0


class TestReports:
    def test_one_pass_reports_nothing(self, sunspots: Series) -> None:
        assert list(self.reports(sunspots, 1, "")) == []

    @pytest.mark.parametrize("metric", ["", "nmse", "mse"])
    def test_every_epoch_reports_the_judged_metric(self, sunspots: Series, metric: str) -> None:
        expected = [train(sunspots, learning_rate=1e-6, epochs=epochs)[metric or "nmse"] for epochs in (1, 2, 3)]
        assert list(self.reports(sunspots, 3, metric)) == list(zip((1, 2, 3), expected, strict=True))

    @staticmethod
    def reports(data: Series, epochs: int, metric: str) -> Iterator[tuple[int, float]]:
        seen: list[tuple[int, float]] = []

        def report(step: int, value: float) -> Order:
            seen.append((step, value))
            return Order.OK

        point: Params = {"learning_rate": 1e-6, "epochs": epochs}
        lms.train(ActiveTrial(0, lms.complete(point), 0, data, on_report=report, metric=metric))
        yield from seen

    def test_an_order_ends_the_training_at_the_epoch(self, sunspots: Series) -> None:
        steps = []

        def report(step: int, _value: float) -> Order:
            steps.append(step)
            return Order.STOP if step == 2 else Order.OK

        point: Params = {"learning_rate": 1e-6, "epochs": 50}
        with pytest.raises(AttemptEndedError):
            lms.train(ActiveTrial(0, lms.complete(point), 0, sunspots, on_report=report))
        assert steps == [1, 2]


class TestBits:
    @settings(deadline=None)
    @given(
        series=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60),
        filter_size=st.integers(1, 12),
        learning_rate=st.floats(1e-9, 10.0),
        normalized=st.booleans(),
        seed=st.integers(0, 2**32),
    )
    def test_compiled_and_plain_agree_in_every_bit(
        self,
        compiled: tuple[Any, Any],
        series: list[float],
        filter_size: int,
        learning_rate: float,
        normalized: bool,
        seed: int,
    ) -> None:
        adapt, error_sums = compiled
        array = np.array(series)
        array.flags.writeable = False
        weights: Floats = functions.initialise(filter_size, seed)
        floats = weights.tolist()
        adapt(array, weights, learning_rate, normalized)
        functions.adapt(series, floats, learning_rate, normalized)
        assert weights.tobytes() == np.array(floats).tobytes() or not np.isfinite(floats).all()
        plain_sums = functions.error_sums(series, floats)
        assert same_bits(error_sums(array, np.array(floats)), plain_sums)

    def test_whole_trials_agree_in_every_bit(
        self, compiled: tuple[Any, Any], plain: Any, sunspots: Series, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        points: list[dict[str, Any]] = [
            {"learning_rate": 1e-6},
            {"learning_rate": 1e-7, "filter_size": 40, "epochs": 2},
            {"learning_rate": 0.3, "normalized": True},
        ]
        in_python = [train(sunspots, **point) for point in points]
        monkeypatch.setattr(plain, "_compiled", compiled)
        assert [train(sunspots, **point) for point in points] == in_python

    def test_numba_compiles_once_for_all_trials(self, compiled: tuple[Any, Any], plain: Any, sunspots: Series) -> None:
        plain._compiled = compiled
        for data in (sunspots, series_of(DataSpec("channel"))):
            train(data, metric="mse", learning_rate=1e-6, normalized=True)
            train(data, metric="mse", learning_rate=1e-6, filter_size=7)
        assert [len(loop.signatures) for loop in compiled] == [1, 1]


def same_bits(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether floats are equal bit by bit; one NaN is as good as another."""
    a, b = np.array(one), np.array(other)
    return bool(((a.view(np.uint64) == b.view(np.uint64)) | (np.isnan(a) & np.isnan(b))).all())


class TestCompilation:
    def test_a_small_grid_never_starts_the_compiler(self) -> None:
        code = """
import sys, threading
from optml_queue.data import DataSpec, load
from optml_queue.driver import ActiveTrial, load_driver
lms, data = load_driver("lms"), load(DataSpec("sunspots"))
for number in range(16):
    lms.train(ActiveTrial(number, lms.complete({"learning_rate": 1e-6}), number, data))
sys.exit(("numba" in sys.modules) or (threading.active_count() > 1))
"""
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_work_done_starts_it(self, plain: Any, compiled: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compilation, "_compile", lambda: compiled)
        assert plain.loops(100) is None
        plain.spent(compilation.START_AFTER_S)
        assert plain.loops(100) == compiled

    def test_trials_before_and_after_compiling_agree_in_every_bit(self, plain: Any, sunspots: Series) -> None:
        before = train(sunspots, learning_rate=1e-6)
        assert plain.loops(1) is None
        plain.spent(compilation.START_AFTER_S)
        after = train(sunspots, learning_rate=1e-6)
        assert plain.loops(1) is not None
        assert after == before

    def test_a_long_trial_starts_it_before_it_begins(
        self, plain: Any, compiled: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compilation, "_compile", lambda: compiled)
        assert plain.loops(int(2 * compilation.START_AFTER_S / compilation.PLAIN_TAP_S)) == compiled

    def test_threads_share_one_compiler(
        self, plain: Any, compiled: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs: list[int] = []

        def compile_once() -> tuple[Any, Any]:
            runs.append(1)
            return compiled

        monkeypatch.setattr(compilation, "_compile", compile_once)
        threads = [Thread(target=plain.loops, args=(10**12,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(runs) == 1

    def test_without_numba_it_stays_in_python_and_says_so_once(
        self, plain: Any, sunspots: Series, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = train(sunspots, learning_rate=1e-6)
        monkeypatch.setitem(sys.modules, "numba", None)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert plain.loops(10**12) is None
        assert train(sunspots, learning_rate=1e-6) == expected
        assert [record.message for record in caplog.records] == [
            "numba cannot compile the filter, so it runs in plain Python: import of numba halted; None in sys.modules"
        ]


def test_the_cost_is_the_number_of_multiply_adds() -> None:
    assert lms.cost is not None
    assert lms.cost(lms.complete({"learning_rate": 1.0, "filter_size": 7, "epochs": 3}), 1000) == 21_000.0
