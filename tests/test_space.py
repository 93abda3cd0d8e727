"""Axes and the space: every index its own point, in order, computed exactly."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from optml_queue.errors import ExpressionError
from optml_queue.expression import parse
from optml_queue.space import (
    Axis,
    Choices,
    Geometric,
    Interval,
    Linear,
    Lists,
    Space,
    axis_from_dict,
    in_order_of_need,
)
from optml_queue.trial import Params, ParamValue, encode

LISTS: tuple[ParamValue, ...] = ([32], [32, 64], [[1], [2]])


def values_of(axis: Axis) -> list[ParamValue]:
    assert axis.size is not None
    return [axis.value(index) for index in range(axis.size)]


def points_of(space: Space) -> list[Params | None]:
    assert space.size is not None
    return [space.point(index) for index in range(space.size)]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (Linear("x", 0.1, 0.9, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        (Linear("x", 0.0, 1.0, step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (Linear("x", 0.0, 0.9, 4), [0.0, 0.3, 0.6, 0.9]),
        (Linear("x", -1.0, 1.0, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (Linear("x", 1, 9, step=2), [1, 3, 5, 7, 9]),
        (Linear("x", 1, 10, step=4), [1, 5, 9]),
        (Linear("x", 1, 10, 4), [1, 4, 7, 10]),
        (Linear("x", 0, 5, 3), [0, 3, 5]),
        (Linear("x", -3, 0, 3), [-3, -1, 0]),
        (Geometric("x", 1e-4, 0.1, 4), [1e-4, 1e-3, 1e-2, 1e-1]),
        (Geometric("x", 1e-8, 1.0, 9), [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (Geometric("x", 1, 100, 5), [1, 3, 10, 32, 100]),
        (Geometric("x", 16, 512, 6), [16, 32, 64, 128, 256, 512]),
        (Interval("x", 2, 5), [2, 3, 4, 5]),
        (Choices("x", LISTS), list(LISTS)),
        (Lists("x", Choices("x", (1, True)), 0, 2), [[], [1], [True], [1, 1], [1, True], [True, 1], [True, True]]),
        (Lists("x", Choices("x", (7,)), 1, 3), [[7], [7, 7], [7, 7, 7]]),
        (Lists("x", Linear("x", 0.1, 0.3, step=0.2), 2, 2), [[0.1, 0.1], [0.1, 0.3], [0.3, 0.1], [0.3, 0.3]]),
    ],
)
def test_values_are_exact_and_of_their_kind(axis: Axis, values: list[ParamValue]) -> None:
    found = values_of(axis)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))
    assert [axis.index(value) for value in values] == list(range(len(values)))


@given(
    st.floats(-1e12, 1e12).map(lambda x: round(x, 3)),
    st.floats(1e-3, 1e12).map(lambda x: round(x, 3)),
    st.integers(2, 10**9),
    st.data(),
)
def test_linear_values_are_the_correctly_rounded_ones(
    low: float, width: float, count: int, data: st.DataObject
) -> None:
    high = low + width
    assume(low < high)
    axis = Linear("x", low, high, count)
    index = data.draw(st.integers(0, count - 1))
    exact = Fraction(repr(low)) + Fraction(index, count - 1) * (Fraction(repr(high)) - Fraction(repr(low)))
    assert axis.value(index) == float(exact)
    assert (axis.value(0), axis.value(count - 1)) == (low, high)


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.integers(2, 10**9), st.data())
def test_geometric_values_rise_between_exact_ends(a: float, b: float, count: int, data: st.DataObject) -> None:
    low, high = sorted((a, b))
    assume(high / low > 1.01)
    axis = Geometric("x", low, high, count)
    assert (axis.value(0), axis.value(count - 1)) == (low, high)
    index = data.draw(st.integers(0, count - 1))
    value = axis.value(index)
    assert isinstance(value, float)
    assert low <= value <= high
    share = index / (count - 1)
    assert math.isclose(
        math.log(value), math.log(low) * (1 - share) + math.log(high) * share, rel_tol=1e-9, abs_tol=1e-9
    )


@given(st.integers(2, 10**9), st.data())
def test_index_is_the_inverse_of_value(count: int, data: st.DataObject) -> None:
    axis = data.draw(
        st.sampled_from(
            [
                Linear("x", 0.0, 1.0, count),
                Linear("x", -(10**10), 10**10, count),
                Linear("x", 0.0, count * 0.25, step=0.25),
                Geometric("x", 1e-6, 1e6, count),
                Interval("x", -count, count),
            ]
        )
    )
    assert axis.size is not None
    index = data.draw(st.integers(0, axis.size - 1))
    assert axis.index(axis.value(index)) == index


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        (Linear("x", 0.0, 1.0, 3), 0.25),
        (Linear("x", 0.0, 1.0, 3), 0),
        (Linear("x", 0, 1, 2), True),
        (Linear("x", 0, 4, 3), 5),
        (Choices("x", (1, 2)), True),
        (Choices("x", (True,)), 1),
        (Choices("x", ([1],)), [True]),
        (Interval("x", 0.0, 1.0), "a"),
        (Interval("x", 0, 4), 2.0),
        (Lists("x", Choices("x", (1, 2)), 1, 2), []),
        (Lists("x", Choices("x", (1, 2)), 1, 2), [1, 1, 1]),
        (Lists("x", Choices("x", (1, 2)), 1, 2), [1, 3]),
        (Lists("x", Choices("x", (1, 2)), 1, 2), [1, True]),
        (Lists("x", Choices("x", (1, 2)), 1, 2), 1),
        (Lists("x", Interval("x", 0.0, 1.0), 1, 2), [0.5, 2.0]),
    ],
)
def test_a_value_of_another_kind_or_place_is_not_on_the_axis(axis: Axis, value: ParamValue) -> None:
    assert axis.index(value) is None
    assert not axis.contains(value)


@pytest.mark.parametrize(
    "axis",
    [
        Interval("x", 0.5, 2.0),
        Interval("x", 1e-6, 0.1, log_scale=True),
        Interval("x", 1, 1000, log_scale=True),
        Interval("x", -3, 3),
        Linear("x", 0.0, 1.0, 7),
        Geometric("x", 1, 100, 5),
        Choices("x", ("a", "b")),
    ],
)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_draw_is_on_its_axis(axis: Axis, fraction: float) -> None:
    assert axis.contains(axis.at(fraction))


def test_draws_from_a_log_interval_are_even_over_its_decades() -> None:
    axis = Interval("x", 1e-4, 1.0, log_scale=True)
    assert [axis.at(fraction) for fraction in (0.0, 0.25, 0.5, 0.75)] == [1e-4, 1e-3, 1e-2, 1e-1]


ELEMENTS = st.sampled_from(
    [
        Choices("x", (32, 128, 512)),
        Choices("x", ("a", [1, 2], True, 1)),
        Choices("x", (5,)),
        Linear("x", 1, 9, step=2),
        Geometric("x", 1e-8, 1e-1, 3),
        Interval("x", -4, 10**6),
        Interval("x", 0.5, 2.0),
        Interval("x", 1e-6, 0.1, log_scale=True),
    ]
)


@st.composite
def lists(draw: st.DrawFn) -> Lists:
    shortest = draw(st.integers(0, 3))
    return Lists("x", draw(ELEMENTS), shortest, draw(st.integers(max(1, shortest), 12)))


@given(lists(), st.data())
def test_a_number_is_one_list_and_a_list_one_number(axis: Lists, data: st.DataObject) -> None:
    assume(axis.size is not None)
    assert axis.size is not None
    number = data.draw(st.integers(0, axis.size - 1))
    value = axis.value(number)
    assert axis.contains(value)
    assert axis.index(value) == number
    if number:
        before = axis.value(number - 1)
        assert isinstance(value, list)
        assert isinstance(before, list)
        assert encode(before) != encode(value)
        assert len(before) <= len(value)


@given(lists(), st.randoms(use_true_random=False))
def test_a_draw_of_a_list_is_one_of_its_lists(axis: Lists, chance: random.Random) -> None:
    value = axis.draw(lambda _part: chance.random())
    assert axis.contains(value)
    figures = dict(zip((part.name for part in axis.parts), axis.split(value), strict=False))
    assert axis.joined(lambda part: figures[part.name]) == value


def test_lists_of_every_length_are_drawn_equally_often() -> None:
    chance, axis = random.Random(0), Lists("x", Choices("x", tuple(range(100))), 1, 4)
    lengths = [len(value) for _ in range(1_000) if isinstance(value := axis.draw(lambda _part: chance.random()), list)]
    assert all(200 < lengths.count(length) < 300 for length in (1, 2, 3, 4))


def test_lists_of_elements_that_are_drawn_cannot_be_counted() -> None:
    axis = Lists("x", Interval("x", 0.0, 1.0), 1, 2)
    assert (axis.size, axis.index([0.5])) == (None, None)
    with pytest.raises(IndexError):
        axis.value(0)


@given(lists())
def test_a_list_axis_survives_its_dictionary(axis: Lists) -> None:
    form = json.loads(json.dumps(axis.to_dict()))
    assert axis_from_dict("x", form, None) == axis


def test_an_axis_of_a_billion_values_takes_no_room() -> None:
    axis = Linear("x", 0.0, 1.0, 10**9)
    assert axis.size == 10**9
    assert axis.value(999_999_999) == 1.0
    assert axis.index(axis.value(123_456_789)) == 123_456_789


AXES = st.lists(
    st.sampled_from(
        [
            Choices("", (0.5, 0.1, 1e-6)),
            Choices("", ("a", "b")),
            Choices("", (True, False)),
            Choices("", (7,)),
            Choices("", LISTS),
            Linear("", 0.0, 0.9, 4),
            Linear("", 1, 9, step=2),
            Geometric("", 1e-8, 1e-1, 3),
            Interval("", 1, 3),
            Lists("", Choices("", (16, 32)), 0, 2),
        ]
    ),
    max_size=4,
)


def named(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    return tuple(replace(axis, name=f"p{number}") for number, axis in enumerate(axes))


@given(AXES)
def test_the_points_are_the_product_in_order_and_index_finds_them(axes: list[Axis]) -> None:
    space = Space(named(axes))
    expected = [
        dict(zip((f"p{n}" for n in range(len(axes))), row, strict=True))
        for row in itertools.product(*(values_of(axis) for axis in axes))
    ]
    found = points_of(space)
    assert list(map(encode, found)) == list(map(encode, expected))
    assert space.size == space.count_exact() == len(expected)
    assert [space.index(point) for point in expected] == list(range(len(expected)))
    assert all(space.contains(point) for point in expected)


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_outside_is_an_error(index: int) -> None:
    space = Space((Choices("a", (1, 2)), Choices("b", (1, 2, 3))))
    with pytest.raises(IndexError):
        space.point(index)


def conditional() -> Space:
    names = ("depth", "momentum", "nesterov")
    return Space(
        (
            Choices("nesterov", (True, False), when=parse("momentum > 0", names)),
            Choices("depth", ("shallow", "deep")),
            Choices("momentum", (0.0, 0.5), when=parse("depth == 'deep'", names)),
        )
    )


def test_a_parameter_that_does_not_apply_is_left_out_and_counts_once() -> None:
    points = [point for point in points_of(conditional()) if point is not None]
    assert points == [
        {"depth": "shallow"},
        {"depth": "deep", "momentum": 0.0},
        {"nesterov": True, "depth": "deep", "momentum": 0.5},
        {"nesterov": False, "depth": "deep", "momentum": 0.5},
    ]
    assert list(points[2]) == ["nesterov", "depth", "momentum"]
    assert conditional().count_exact() == 4
    for point in points:
        index = conditional().index(point)
        assert index is not None
        assert conditional().point(index) == point


@pytest.mark.parametrize(
    "point",
    [
        {"depth": "deep"},
        {"depth": "shallow", "momentum": 0.5},
        {"depth": "flat"},
        {"depth": "shallow", "other": 1},
        {},
    ],
)
def test_an_incomplete_or_overfull_point_is_not_in_the_space(point: Params) -> None:
    assert not conditional().contains(point)
    assert conditional().index(point) is None


def test_conditions_that_go_in_a_circle_are_told() -> None:
    names = ("a", "b", "c")
    axes = (
        Choices("a", (1,), when=parse("b == 1", names)),
        Choices("b", (1,), when=parse("a == 1", names)),
        Choices("c", (1,)),
    )
    with pytest.raises(ValueError, match="a, b"):
        in_order_of_need(axes)


def test_excluded_points_have_no_index() -> None:
    names = ("a", "b", "free")
    space = Space(
        (Linear("a", 0, 9, step=1), Linear("b", 0, 9, step=1), Linear("free", 1, 3, step=1)),
        (parse("a > b", names), parse("a == 5", names)),
    )
    expected = sum(3 for a in range(10) for b in range(10) if a <= b and a != 5)
    assert sum(point is not None for point in points_of(space)) == expected == space.count_exact()
    assert space.count_exact(limit=299) is None
    assert space.index({"a": 5, "b": 7, "free": 1}) is None
    assert not space.contains({"a": 5, "b": 7, "free": 1})
    assert space.excluded_by({"a": 5, "b": 7, "free": 1}) == parse("a == 5", names)


def test_a_condition_without_an_answer_is_told() -> None:
    space = Space((Choices("a", (0, 1)),), (parse("1 / a > 0", ("a",)),))
    with pytest.raises(ExpressionError, match="division by zero"):
        space.point(0)


def test_a_space_with_an_interval_has_no_size_and_is_drawn_from() -> None:
    names = ("x", "y")
    space = Space((Interval("x", 0.0, 1.0), Choices("y", (1, 2))), (parse("x > 0.5", names),))
    assert space.size is None
    assert space.count_exact() is None
    assert space.draw(lambda _name: 0.25) == {"x": 0.25, "y": 1}
    assert space.draw(lambda _name: 0.75) is None
    assert space.contains({"x": 0.3, "y": 2})
    assert space.index({"x": 0.3, "y": 2}) is None
    with pytest.raises(IndexError):
        space.point(0)


def test_complete_adds_fixed_parameters_and_names_what_is_missing() -> None:
    space = Space((Choices("a", (1, 2)), Choices("b", (7,))))
    assert space.complete({"a": 9}) == {"a": 9, "b": 7}
    with pytest.raises(KeyError, match="a"):
        space.complete({"b": 7})


@pytest.mark.parametrize(
    "axis",
    [
        Linear("x", 0.1, 0.7, step=0.1),
        Linear("x", 1, 10, 4),
        Geometric("x", 1e-8, 0.1, 8),
        Interval("x", 0.1, 0.7),
        Interval("x", 1, 7),
        Interval("x", 1.0, 7.0, log_scale=True),
        Choices("x", (5e-324, 1.0, 1 / 3)),
        Choices("x", (1,)),
        Choices("x", LISTS, when=parse("y > 1", ("y",))),
    ],
)
def test_an_axis_survives_its_dictionary(axis: Axis) -> None:
    form = axis.to_dict()
    when = parse(form["when"], ("y",)) if "when" in form else None
    assert axis_from_dict("x", form, when) == axis
    assert axis_from_dict("x", form, when).to_dict() == form
