"""The searchers' contract, kept by grid and random alike; and the plan that numbers trials."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.expression import parse
from optml_queue.search import GridSearch, Plan, RandomSearch, Searcher, segments
from optml_queue.search.permutation import Permutation
from optml_queue.search.random_order import RandomOrder
from optml_queue.space import Choices, Geometric, Interval, Linear, Lists, Space
from optml_queue.spec import parse_spec
from optml_queue.trial import Params, encode

Make = Callable[[Space, Sequence[Params]], Searcher]


@pytest.fixture(params=["grid", "random"])
def search(request: pytest.FixtureRequest) -> Make:
    """The constructor of one searcher over a countable space."""
    makers: dict[str, Make] = {
        "grid": lambda space, known: GridSearch(space, known),
        "random": lambda space, known: RandomSearch(space, 3, known),
    }
    return makers[request.param]


def points_of(searcher: Searcher) -> list[Params]:
    return [point for index in range(searcher.size) if (point := searcher.point(index)) is not None]


def plan_of(body: str, method: str = "grid") -> Plan:
    text = f"{{name: t, algorithm: lms, method: {method}, {body}}}"
    return segments(parse_spec(text, "test", Path()))


NAMES = ("a", "b")
PLAIN = Space((Choices("a", ("x", "y", "z")), Linear("b", 0.0, 0.9, 4)))
GAPPED = Space(
    (Choices("a", ("x", "y", "z")), Linear("b", 1, 9, step=2, when=parse("a != 'x'", NAMES))),
    (parse("a == 'z' and b > 6", NAMES),),
)


LISTED = Space(
    (
        Choices("kind", ("a", "b", "c", "d")),
        Lists("n", Choices("n", (8, 16, 32)), 0, 3, when=parse("kind == 'a' or kind != 'e'", ("kind", "n"))),
    ),
    (parse("kind != 'a' and len(n) == 0", ("kind", "n")),),
)


class TestSearcher:
    def test_covers_the_space_once(self, search: Make) -> None:
        searcher = search(PLAIN, ())
        found = Counter(map(encode, points_of(searcher)))
        assert len(found) == 12 == searcher.size
        assert set(found.values()) == {1}
        assert searcher.gapless
        assert searcher.count(100) == (12, True)

    def test_leaves_gaps_for_points_that_are_not_to_be_tried(self, search: Make) -> None:
        searcher = search(GAPPED, ())
        found = points_of(searcher)
        assert len(found) == 1 + 5 + 3 == len(set(map(encode, found)))
        assert {"a": "x"} in found
        assert not searcher.gapless
        assert searcher.count(100) == (9, True)
        assert searcher.count(14) == (15, False)

    def test_does_not_try_known_points_again(self, search: Make) -> None:
        known: list[Params] = [{"a": "x", "b": 0.3}, {"a": "q", "b": 0.3}]
        searcher = search(PLAIN, known)
        found = points_of(searcher)
        assert len(found) == 11
        assert known[0] not in found
        assert not searcher.gapless
        assert searcher.count(100) == (11, True)

    def test_gives_the_same_points_again(self, search: Make) -> None:
        assert points_of(search(GAPPED, ())) == points_of(search(GAPPED, ()))

    @pytest.mark.parametrize("index", [-1, 12])
    def test_has_no_point_outside(self, search: Make, index: int) -> None:
        with pytest.raises(IndexError):
            search(PLAIN, ()).point(index)

    def test_tries_every_list_once(self, search: Make) -> None:
        searcher = search(LISTED, ())
        found = points_of(searcher)
        assert len(found) == len(set(map(encode, found))) == 1 + 3 + 9 + 27 + 3 * 39
        assert searcher.count(1_000) == (157, True)
        assert all(searcher.point(searcher.index(point) or 0) == point for point in found)
        assert len(points_of(search(LISTED, [{"kind": "b", "n": [8, 16]}, {"kind": "b", "n": [8, 9]}]))) == 156

    def test_finds_a_point_of_a_billion(self, search: Make) -> None:
        space = Space((Linear("a", 0, 10**5 - 1, step=1), Geometric("b", 1e-9, 1.0, 10**4)))
        point = search(space, ()).point(987_654_321)
        assert point is not None
        assert space.contains(point)


@given(st.integers(1, 3_000), st.integers(0, 2**63 - 1))
def test_a_permutation_is_a_bijection(size: int, key: int) -> None:
    permutation = Permutation(size, key)
    assert sorted(permutation[index] for index in range(size)) == list(range(size))


@given(st.integers(1, 10**30), st.integers(0, 100), st.data())
def test_a_permutation_of_any_size_stays_within_it(size: int, key: int, data: st.DataObject) -> None:
    permutation = Permutation(size, key)
    indices = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5, unique=True))
    images = [permutation[index] for index in indices]
    assert len(set(images)) == len(images)
    assert all(0 <= image < size for image in images)


@pytest.mark.parametrize("size", [2, 3, 5, 16])
def test_every_place_comes_first_about_equally_often(size: int) -> None:
    firsts = Counter(Permutation(size, key)[0] for key in range(2_000))
    expected = 2_000 / size
    assert all(abs(firsts[place] - expected) < 6 * expected**0.5 for place in range(size))


@given(st.data(), st.integers(0, 2**63 - 1))
def test_a_random_order_is_a_bijection_of_a_space_with_lists(data: st.DataObject, seed: int) -> None:
    axes = st.one_of(
        st.integers(1, 5).map(lambda size: Choices("x", tuple(range(size)))),
        st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)).map(
            lambda form: Lists("x", Choices("x", tuple(range(form[0]))), form[1], form[1] + form[2])
        ),
    )
    space = Space(tuple(data.draw(st.lists(axes, min_size=1, max_size=3))))
    size = min(space.size or 0, 50)
    order = RandomOrder(space, seed)
    indices = [order[place] for place in range(size)]
    assert len(set(indices)) == size
    assert all(0 <= index < (space.size or 0) for index in indices)
    assert [order.index(index) for index in indices] == list(range(size))


def test_a_random_order_has_short_lists_as_often_as_long_ones() -> None:
    search = RandomSearch(Space((Lists("n", Linear("n", 1, 1_000, step=1), 1, 60),)), 1)
    points = [search.point(index) for index in range(600)]
    lengths = Counter(len(n) for point in points if point is not None and isinstance(n := point["n"], list))
    assert set(lengths.values()) == {10}
    far = 10**150
    point = search.point(far)
    assert point is not None
    assert search.index(point) == far


def test_random_search_is_the_same_for_ever() -> None:
    """Recorded numbers: trials of an experiment must not change with a version or a platform."""
    assert [Permutation(10, 0)[index] for index in range(10)] == [7, 3, 6, 2, 9, 0, 8, 5, 4, 1]
    drawn = RandomSearch(DRAWN, 7, draws=2)
    assert [drawn.point(0), drawn.point(1)] == [
        {"rate": 3.323055542505166e-05, "width": 1.3815230855562666, "size": 6},
        {"rate": 0.0002772829354985789, "width": 1.6616337536130275, "size": 5},
    ]
    listed = RandomSearch(Space((Lists("n", Choices("n", (32, 128, 512)), 1, 3),)), 7)
    assert [listed.point(index) for index in range(4)] == [
        {"n": n} for n in ([512, 512, 32], [32], [128, 32], [512, 32])
    ]


DRAWN = Space(
    (Interval("rate", 1e-6, 0.1, log_scale=True), Interval("width", 0.0, 2.0), Interval("size", 1, 9)),
)


def test_seeds_differ_and_so_do_draws() -> None:
    points = [RandomSearch(DRAWN, seed, draws=3).point(index) for seed in range(20) for index in range(3)]
    assert len(set(map(encode, points))) == 60


def test_draws_spread_over_an_interval() -> None:
    search = RandomSearch(DRAWN, 0, draws=1_000)
    points = [point for index in range(1_000) if (point := search.point(index)) is not None]
    tenths = Counter(int(float(str(point["width"])) * 5) for point in points)
    assert set(tenths) == set(range(10))
    assert all(60 < count < 140 for count in tenths.values())
    assert {point["size"] for point in points} == set(range(1, 10))


def test_another_parameter_leaves_the_draws_of_the_others_as_they_were() -> None:
    more = Space((*DRAWN.axes, Interval("momentum", 0.0, 1.0)))
    point = RandomSearch(more, 7, draws=1).point(0)
    assert point is not None
    del point["momentum"]
    assert point == RandomSearch(DRAWN, 7, draws=1).point(0)


def test_an_excluded_draw_is_drawn_again() -> None:
    space = Space(DRAWN.axes, (parse("width > 0.2", ("rate", "width", "size")),))
    search = RandomSearch(space, 0, draws=200)
    points = [search.point(index) for index in range(200)]
    assert all(point is not None and float(str(point["width"])) <= 0.2 for point in points)


def test_a_space_that_is_all_excluded_is_given_up() -> None:
    space = Space(DRAWN.axes, (parse("width >= 0", ("rate", "width", "size")),))
    assert RandomSearch(space, 0, draws=1).point(0) is None


RATES = "parameters: {learning_rate: {values: [0.3, 0.2, 0.1]}, filter_size: {min: 1, max: 4, step: 1}}"


def trials_of(plan: Plan) -> list[tuple[int, Params, int]]:
    return [(number, *trial) for number in range(plan.end) if (trial := plan.trial(number)) is not None]


class TestPlan:
    def test_numbers_are_points_times_seeds(self) -> None:
        plan = plan_of(f"{RATES}, seeds: [0, 7]")
        assert plan.end == 24
        assert plan.trial(0) == ({"learning_rate": 0.3, "filter_size": 1}, 0)
        assert plan.trial(1) == ({"learning_rate": 0.3, "filter_size": 1}, 7)
        assert plan.trial(3) == ({"learning_rate": 0.3, "filter_size": 2}, 7)
        assert plan.trial(23) == ({"learning_rate": 0.1, "filter_size": 4}, 7)
        assert plan.count() == (24, True)

    @pytest.mark.parametrize("number", [-1, 24])
    def test_has_no_trial_outside(self, number: int) -> None:
        with pytest.raises(IndexError):
            plan_of(f"{RATES}, seeds: [0, 7]").trial(number)

    @pytest.mark.parametrize("method", ["grid", "random"])
    def test_listed_points_come_first_and_once(self, method: str) -> None:
        listed = "points: [{learning_rate: 0.2, filter_size: 3}, {learning_rate: 0.25, filter_size: 3}]"
        plan = plan_of(f"{RATES}, seeds: [0, 1], {listed}", method)
        trials = trials_of(plan)
        assert [number for number, _, _ in trials[:4]] == [0, 1, 2, 3]
        assert [params["learning_rate"] for _, params, _ in trials[:4]] == [0.2, 0.2, 0.25, 0.25]
        assert len(trials) == 2 * 13 == plan.count()[0]
        assert plan.end == 2 * 14
        assert len({encode([params, seed]) for _, params, seed in trials}) == len(trials)

    @pytest.mark.parametrize("method", ["grid", "random"])
    @pytest.mark.parametrize("max_trials", [1, 5, 24, 1000])
    def test_max_trials_counts_real_trials_lowest_numbers_first(self, method: str, max_trials: int) -> None:
        body = f"{RATES}, seeds: [0, 1, 2], exclude: ['filter_size == 1 or learning_rate == 0.2 and filter_size > 2']"
        everything = trials_of(plan_of(body, method))
        plan = plan_of(f"{body}, max_trials: {max_trials}", method)
        assert plan.take(0, 10_000, max_trials)[0] == everything[:max_trials]
        assert list(plan) == everything[:max_trials]
        assert plan.count() == (min(max_trials, len(everything)), True)
        assert plan.first(3) == everything[: min(3, max_trials)]
        assert plan.last(3) == everything[:max_trials][-3:]

    def test_max_trials_ends_a_plan_without_gaps(self) -> None:
        assert plan_of(f"{RATES}, max_trials: 5").end == 5
        assert len(plan_of(f"{RATES}, max_trials: 5").last(10)) == 5

    @given(st.integers(1, 7), st.integers(1, 9), st.sampled_from(["grid", "random"]))
    def test_taken_in_any_portions_the_trials_are_the_same(self, limit: int, scan: int, method: str) -> None:
        plan = plan_of(f"{RATES}, seeds: [5, 6], exclude: ['filter_size == 2']", method)
        taken, number = [], 0
        while number < plan.end:
            part, after = plan.take(number, limit, None, scan)
            assert number < after <= number + scan
            assert len(part) <= limit
            taken += part
            number = after
        assert taken == trials_of(plan)

    def test_takes_nothing_without_a_budget(self) -> None:
        assert plan_of(RATES).take(0, 10, 0) == ([], 0)

    @pytest.mark.parametrize(("max_trials", "points"), [(1, 1), (7, 4), (10, 5)])
    def test_a_space_drawn_from_has_as_many_points_as_max_trials_needs(self, max_trials: int, points: int) -> None:
        rates = "parameters: {learning_rate: {min: 0.01, max: 0.1}}, points: [{learning_rate: 0.02}]"
        plan = plan_of(f"{rates}, seeds: [0, 1], max_trials: {max_trials}", "random")
        trials = trials_of(plan)
        assert plan.end == max_trials == len(trials)
        assert len({encode(params) for _, params, _ in trials}) == points
        assert plan.count() == (max_trials, True)

    def test_counts_are_bounds_where_conditions_are_too_many_to_try(self) -> None:
        body = (
            "parameters: {learning_rate: {min: 0.1, max: 0.9, count: 1001}, filter_size: {min: 1, max: 1000, step: 1}}"
        )
        plan = plan_of(f"{body}, exclude: ['filter_size > 500']")
        assert plan.count() == (1_001_000, False)
        assert plan_of(f"{body}, exclude: ['filter_size > 500'], max_trials: 10").count() == (10, True)
        assert plan_of(body).count() == (1_001_000, True)

    def test_a_billion_points_are_planned_at_once_and_in_no_room(self) -> None:
        body = (
            "parameters: {learning_rate: {min: 1e-9, max: 0.1, count: 1_000, scale: log},"
            " filter_size: {min: 1, max: 1_000, step: 1}, epochs: {min: 1, max: 1_000, count: 1_000}}"
        )
        plan_of(body)
        tracemalloc.start()
        begin = time.process_time()
        plan = plan_of(f"{body}, seeds: [0, 1, 2]")
        trials = [*plan.first(3), *plan.last(3), *plan.take(1_500_000_000, 1_000)[0]]
        counted = plan.count()
        used_s = time.process_time() - begin
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert counted == (3 * 10**9, True)
        assert trials[5] == (3 * 10**9 - 1, {"learning_rate": 0.1, "filter_size": 1000, "epochs": 1000}, 2)
        assert used_s < 1.0
        assert peak_bytes < 4 << 20
