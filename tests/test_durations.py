"""The model of durations: what it learns, when it keeps silent, and that nothing makes it raise."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optml_queue.durations import OBSERVED_MIN, fitted
from optml_queue.ordering import makespan_s
from optml_queue.trial import Params

NUMBERS = st.floats(allow_nan=True) | st.integers(-(10**400), 10**400)
VALUES = st.none() | st.booleans() | st.text(max_size=3) | NUMBERS | st.lists(NUMBERS, max_size=3)
POINTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)
DURATIONS = st.floats(0, 1e9)


@settings(max_examples=30)
@given(st.lists(st.tuples(POINTS, DURATIONS), min_size=5, max_size=12), POINTS)
def test_it_is_finite_positive_and_the_same_again_whatever_the_parameters(
    observed: list[tuple[Params, float]], point: Params
) -> None:
    model = fitted(observed)
    if model is None:
        return
    assert repr(fitted(observed)) == repr(model)  # as text: values of parameters may be nan
    for params in (point, *(each for each, _ in observed)):
        assert 0 < model.duration_s(params) < math.inf


def test_sizes_of_networks_are_told_in_order_from_a_few() -> None:
    chance = random.Random(1)
    points: list[Params] = [
        {"first": a, "second": b, "rate": c} for a, b, c in product((32, 64, 128, 256), (16, 512), (0.1, 0.2))
    ]
    chance.shuffle(points)

    def duration_s(point: Params) -> float:
        return 1e-5 * float(point["first"]) * float(point["second"]) * chance.uniform(0.9, 1.1)  # type: ignore[arg-type]  # a number

    model = fitted([(point, duration_s(point)) for point in points[:8]])
    assert model is not None
    assert model.explained > 0.9
    rest = points[8:]
    foretold = [model.duration_s(point) for point in rest]
    pairs = [(i, j) for i in range(len(rest)) for j in range(i) if duration_s(rest[i]) > 1.5 * duration_s(rest[j])]
    assert sum(foretold[i] > foretold[j] for i, j in pairs) > 0.9 * len(pairs)


def test_names_lists_and_absent_parameters_count() -> None:
    observed: list[tuple[Params, float]] = []
    for i in range(24):
        layers = [64] * (1 + i % 3)
        point: Params = {"optimizer": "adam" if i % 2 else "lbfgs", "layers": layers}  # type: ignore[dict-item]  # a list of ints
        observed.append((point, (1.0 if i % 2 else 5.0) * len(layers)))
    model = fitted(observed)
    assert model is not None
    assert model.duration_s({"optimizer": "lbfgs", "layers": [64, 64, 64]}) > 8
    assert model.duration_s({"optimizer": "adam", "layers": [64]}) < 2
    assert model.duration_s({}) < math.inf


def test_a_first_trial_that_loads_its_libraries_does_not_mislead() -> None:
    observed: list[tuple[Params, float]] = [({"epochs": n}, 0.1 * n) for n in range(1, 21)]
    observed[0] = ({"epochs": 1}, 600.0)
    model = fitted(observed)
    assert model is not None
    assert model.duration_s({"epochs": 40}) > 1.5 * model.duration_s({"epochs": 5})


def test_too_few_or_all_alike_tell_nothing() -> None:
    assert fitted([({"a": n}, float(n)) for n in range(OBSERVED_MIN - 1)]) is None
    assert fitted([({"a": n}, 1.0) for n in range(20)]) is None
    assert fitted([({}, float(n)) for n in range(20)]) is None


def test_where_parameters_tell_nothing_the_order_is_hardly_ever_changed_and_then_as_good() -> None:
    """Durations that have no cause, 300 experiments: on average as long as in the order of numbers."""
    chance = random.Random(7)
    ratios, changed = [], 0
    for _ in range(300):
        points: list[Params] = [{"a": chance.random(), "b": chance.choice("xyz"), "c": n % 4} for n in range(40)]
        durations_s = [chance.lognormvariate(0, 1) for _ in points]
        model = fitted(list(zip(points[:12], durations_s, strict=False)))
        rest = list(range(12, 40))
        if model is not None:
            changed += 1
            foretold = {n: model.duration_s(points[n]) for n in rest}
            ordered = sorted(rest, key=lambda n: -foretold[n])
            ratios.append(
                makespan_s([durations_s[n] for n in ordered], 4) / makespan_s([durations_s[n] for n in rest], 4)
            )
    assert changed < 30
    assert sum(ratios) / max(1, len(ratios)) == pytest.approx(1.0, abs=0.08)
