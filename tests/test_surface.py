"""The surface of a contour plot: it says what was measured, and nothing where nothing was."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.surface import PLACES, explained, surface, telling

SIDE = st.floats(-1e6, 1e6)
TRIALS = st.lists(st.tuples(SIDE, SIDE, st.floats(-1e3, 1e3)), max_size=60)


@given(TRIALS)
def test_it_goes_through_means_of_trials_and_stays_within_them(trials: list[tuple[float, float, float]]) -> None:
    x, y, value = (np.array([trial[i] for trial in trials]) for i in range(3))
    made = surface(x, y, value)
    if made is None:
        return
    assert made.count.sum() == len(trials)
    assert len(made.x) <= PLACES * PLACES
    for given_, shown in ((x, made.x), (y, made.y), (value, made.value)):
        assert given_.min() - 1e-6 <= shown.min()
        assert shown.max() <= given_.max() + 1e-6
    assert math.isclose(np.average(made.value, weights=made.count), value.mean(), abs_tol=1e-6)
    assert made.triangles.min() >= 0
    assert made.triangles.max() < len(made.x)


def test_a_grid_is_kept_as_it_is_and_covered_whole() -> None:
    x, y = (each.ravel() for each in np.meshgrid(np.arange(5.0), np.arange(0.0, 4000.0, 1000.0)))
    made = surface(np.repeat(x, 2), np.repeat(y, 2), np.repeat(x + y, 2) + np.tile([-1.0, 1.0], 20))
    assert made is not None
    assert set(zip(made.x, made.y, strict=True)) == set(zip(x, y, strict=True))
    assert np.allclose(made.value, made.x + made.y)
    assert set(made.count.tolist()) == {2}
    corners = np.stack([made.x, made.y], axis=1)[made.triangles]
    sides = corners[:, 1:] - corners[:, :1]
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).sum() / 2
    assert math.isclose(float(area), 4 * 3000)


def test_there_is_none_of_a_line_or_of_too_few() -> None:
    line = np.arange(9.0)
    assert surface(line, 2 * line + 1, line) is None
    assert surface(line, np.zeros(9), line) is None
    assert surface(line[:2], line[:2] ** 2, line[:2]) is None
    assert surface(np.array([]), np.array([]), np.array([])) is None


def test_the_parameter_that_explains_most_tells_most() -> None:
    chance = np.random.default_rng(0)
    strong, weak, idle, few = (chance.random(400) for _ in range(4))
    value = 10 * (strong - 0.5) ** 2 + 0.3 * weak
    absent = np.where(idle < 0.9, math.nan, idle)
    parameters = {"idle": absent, "weak": weak, "strong": strong, "few": np.round(few)}
    value[:3] = math.nan
    assert telling(parameters, value)[0] == "strong"
    assert set(telling(parameters, value)) == {"idle", "weak", "strong"}
    assert explained(strong[3:], value[3:]) > 0.9
    assert explained(strong, np.ones(400)) == 0.0
