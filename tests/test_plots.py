"""Pictures: their size, and that diverged points are seen but never stretch a scale."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from optml_queue.driver import Goal, Metric
from optml_queue.plots import POINTS_MAX, contour_plot, error_plot, look, pareto_plot
from optml_queue.space import Choices, Lists
from optml_queue.trial import Params, Trial, TrialState

PAPER = {1e-8: 0.1426, 5e-8: 0.1095, 1e-7: 0.1058, 5e-7: 0.0923, 1e-6: 0.0892, 5e-6: 0.1289}
RATES = [0.5, 0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5, *reversed(PAPER)]


def trial(number: int, params: Params, value: float | None, seed: int = 0) -> Trial:
    """A complete trial, or a diverged one when there is no value."""
    if value is None:
        return Trial(number, TrialState.DIVERGED, params, seed, {"nmse": 1e200})
    return Trial(number, TrialState.COMPLETE, params, seed, {"nmse": value})


def lms() -> list[Trial]:
    return [trial(i, {"rate": rate, "taps": 5}, PAPER.get(rate)) for i, rate in enumerate(RATES)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made into pictures."""
    figures: list[Figure] = []
    png = look.png

    def keep(figure: Figure) -> bytes:
        figures.append(figure)
        return png(figure)

    monkeypatch.setattr(look, "png", keep)
    return figures


def draw(
    drawn: list[Figure], trials: Sequence[Trial], names: Sequence[str], goal: Goal = Goal.MINIMIZE
) -> tuple[Figure, Axes]:
    image = error_plot(iter(trials), names, "nmse", goal, "an experiment")
    assert image.startswith(b"\x89PNG")
    assert (int.from_bytes(image[16:20]), int.from_bytes(image[20:24])) == (1600, 1000)
    return drawn[-1], drawn[-1].axes[0]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def test_the_papers_rates_are_on_a_log_axis_and_diverged_ones_do_not_stretch_it(drawn: list[Figure]) -> None:
    figure, axes = draw(drawn, lms(), ["rate", "taps"])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    low, high = axes.get_ylim()
    assert 0.05 < low < 0.0892
    assert 0.1426 < high < 0.2
    left, right = axes.get_xlim()
    assert left < 1e-8
    assert right > 0.5
    crosses = next(line for line in axes.lines if line.get_label() == "diverged")
    assert len(crosses.get_xdata()) == 10  # type: ignore[arg-type]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate", "nmse")
    assert legend(figure) == ["complete", "diverged", "best"]
    best = next(line for line in axes.lines if line.get_label() == "best")
    assert list(best.get_xdata()) == [1e-6]  # type: ignore[arg-type]


def test_seeds_become_one_point_with_a_spread(drawn: list[Figure]) -> None:
    trials = [trial(3 * i + s, {"rate": i + 1}, 0.1 * (i + 1) + 0.01 * s, s) for i in range(5) for s in range(3)]
    figure, axes = draw(drawn, trials, ["rate"])
    curve = next(line for line in axes.lines if str(line.get_label()).startswith("mean"))
    assert np.allclose(np.asarray(curve.get_ydata()), [0.11, 0.21, 0.31, 0.41, 0.51])
    assert legend(figure)[0] == "mean ± sd over 3 seeds"
    assert axes.collections, "no error bars"


def test_errors_over_decades_are_on_a_log_axis(drawn: list[Figure]) -> None:
    _, axes = draw(drawn, [trial(i, {"rate": i}, 10.0**-i) for i in range(6)], ["rate"])
    assert axes.get_yscale() == "log"


def test_a_maximised_metric_has_its_bad_edge_below(drawn: list[Figure]) -> None:
    _, axes = draw(drawn, lms(), ["rate"], Goal.MAXIMIZE)
    crosses = next(line for line in axes.lines if line.get_label() == "diverged")
    assert np.asarray(crosses.get_ydata()).max() < 0.1
    best = next(line for line in axes.lines if line.get_label() == "best")
    assert list(best.get_xdata()) == [1e-8]  # type: ignore[arg-type]


def test_two_parameters_are_a_map_with_a_cell_for_each_point(drawn: list[Figure]) -> None:
    trials = [
        trial(5 * i + j, {"rate": rate, "sizes": [size]}, None if (i, j) == (3, 4) else 0.1 + i / 10 + j / 100)
        for i, rate in enumerate((0.001, 0.01, 0.1, 0.5))
        for j, size in enumerate((512, 2, 128, 8, 32))
    ]
    figure, axes = draw(drawn, trials, ["rate", "sizes"])
    (image,) = (artist for artist in axes.get_images() if isinstance(artist, AxesImage))
    values = image.get_array()
    assert values is not None
    assert values.shape == (5, 4)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["[2]", "[8]", "[32]", "[128]", "[512]"]
    assert values[4, 0] == pytest.approx(0.1)  # [512] under 0.001
    assert np.ma.getmaskarray(values)[2, 3]  # [32] under 0.5 diverged
    assert len(axes.texts) == 19
    assert legend(figure) == ["diverged", "best"]


def test_many_scattered_pairs_are_dots(drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    trials = [trial(i, {"a": 10 ** rng.uniform(-5, 0), "b": rng.uniform()}, rng.uniform()) for i in range(100)]
    _, axes = draw(drawn, trials, ["a", "b"])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert not axes.get_images()


def test_more_parameters_have_a_panel_each(drawn: list[Figure]) -> None:
    trials = [trial(i, {"a": i % 3, "b": f"$x_{i % 2}", "c": bool(i % 5), "d": 1}, float(i) + 1) for i in range(30)]
    figure, _ = draw(drawn, trials, ["a", "b", "c", "d"])
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == ["a", "b", "c"]


@pytest.mark.parametrize("names", [["rate"], ["rate", "taps"], ["rate", "taps", "way"]])
def test_without_a_complete_trial_there_still_is_a_picture(drawn: list[Figure], names: list[str]) -> None:
    points: list[Params] = [{"rate": 1e-3 * 10**i, "taps": i, "way": str(i)} for i in range(3)]
    draw(drawn, [trial(i, {name: p[name] for name in names}, None) for i, p in enumerate(points)], names)
    draw(drawn, [replace(t, state=TrialState.QUEUED) for t in lms()], ["rate", "taps"])
    draw(drawn, [], names)


def test_a_parameter_that_plays_no_part_everywhere(drawn: list[Figure]) -> None:
    trials = [trial(0, {"depth": "flat"}, 0.2), trial(1, {"depth": "deep", "units": 8}, 0.1)]
    draw(drawn, trials, ["depth", "units"])
    draw(drawn, [*trials, trial(2, {"depth": "deep", "units": 9, "x": 1}, 0.3)], ["depth", "units", "x"])


@pytest.mark.parametrize("names", [["sizes"], ["way", "sizes"], ["rate", "sizes", "way"]])
def test_lists_stand_side_by_side_the_small_ones_first(drawn: list[Figure], names: list[str]) -> None:
    axis = Lists("sizes", Choices("sizes", (8, 16, 32)), 0, 4)
    points: list[Params] = [{"rate": 0.01 * i, "sizes": axis.value(i), "way": "deep"} for i in range(121)]
    points.append({"rate": 0.5, "way": "flat"})
    points = [{name: value for name, value in point.items() if name in names} for point in points]
    figure, axes = draw(drawn, [trial(i, point, 1.0 - i / 500) for i, point in enumerate(points)], names)
    if names == ["sizes"]:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels[:2] == ["[]", "[8,8,8,32]"]
    assert figure.axes


def test_a_great_many_points_are_sampled_and_the_best_and_worst_kept(drawn: list[Figure]) -> None:
    trials = [trial(i, {"x": i / 7}, 1.0 + math.sin(i) / 2) for i in range(POINTS_MAX + 2000)]
    trials[1234] = trial(1234, {"x": 1234 / 7}, 0.01)
    trials[4321] = trial(4321, {"x": 4321 / 7}, 2.0)
    figure, axes = draw(drawn, trials, ["x"])
    (curve,) = (line for line in axes.lines if line.get_label() == "complete")
    heights = np.asarray(curve.get_ydata())
    assert POINTS_MAX <= len(heights) <= POINTS_MAX + 2
    assert heights.min() == 0.01
    assert heights.max() == 2.0
    assert any("a sample of" in text.get_text() for text in figure.texts)


def test_no_state_is_shared_with_whoever_uses_pyplot() -> None:
    code = "import sys, optml_queue.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_contours_are_over_the_two_numbers_that_tell_most_and_mark_what_was_tried(drawn: list[Figure]) -> None:
    points: list[Params] = [
        {"rate": 10.0**-i, "taps": taps, "idle": (i + taps) % 3, "kind": "abc"[i % 3]}
        for i in range(1, 7)
        for taps in (2, 5, 9, 14)
    ]
    trials = [trial(n, p, (math.log10(float(str(p["rate"]))) + 4) ** 2 + p["taps"]) for n, p in enumerate(points)]  # type: ignore[operator]
    trials[0] = trial(0, points[0], None)
    assert contour_plot(iter(trials), ["idle", "kind", "rate", "taps"], "nmse", Goal.MINIMIZE, "x")
    axes = drawn[-1].axes[0]
    assert {axes.get_xlabel(), axes.get_ylabel()} == {"rate", "taps"}
    tried = next(line for line in axes.lines if line.get_label() == "tried")
    assert len(tried.get_xdata()) == 23  # type: ignore[arg-type]
    best = next(line for line in axes.lines if line.get_label() == "best")
    assert sorted([*best.get_xdata(), *best.get_ydata()]) == [-4.0, 2.0]  # type: ignore[misc]
    assert legend(drawn[-1]) == ["tried", "diverged", "best"]


def test_there_are_no_contours_of_one_number_or_of_no_result() -> None:
    one = [trial(n, {"rate": n, "kind": "ab"[n % 2]}, 1.0) for n in range(9)]
    assert contour_plot(one, ["rate", "kind"], "nmse", Goal.MINIMIZE, "x") is None
    assert contour_plot([], ["rate", "kind"], "nmse", Goal.MINIMIZE, "x") is None


@pytest.mark.parametrize("goal", Goal)
def test_a_front_is_drawn_over_what_it_dominates_and_what_breaks_a_constraint(drawn: list[Figure], goal: Goal) -> None:
    sign = 1 if goal is Goal.MINIMIZE else -1
    values = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (3.0, 3.0)]
    trials = [Trial(n, TrialState.COMPLETE, {}, 0, {"a": sign * a, "b": b}) for n, (a, b) in enumerate(values)]
    trials.append(Trial(4, TrialState.COMPLETE, {}, 0, {"a": 0.0, "b": 0.5}, "infeasible: a > 0"))
    trials.append(Trial(5, TrialState.DIVERGED, {}, 0, {"a": 9.0, "b": 9.0}))
    assert pareto_plot(iter(trials), [Metric("a", goal), Metric("b")], "x")
    assert legend(drawn[-1]) == ["dominated", "breaks a constraint", "Pareto front"]
    front = next(line for line in drawn[-1].axes[0].lines if line.get_label() == "Pareto front")
    assert sorted(sign * np.asarray(front.get_xdata())) == [1.0, 2.0, 3.0]
    assert front.get_drawstyle() == ("steps-post" if sign > 0 else "steps-pre")
    assert pareto_plot(iter(trials), [Metric("a"), Metric("c")], "x") is None
