"""Extending a spec: which trials are added, and what cannot be changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optml_queue.errors import InputError, SpecError
from optml_queue.search import Plan, segments
from optml_queue.spec import Algorithm, Spec, parse_spec
from optml_queue.spec.extension import extended
from optml_queue.trial import encode

GRID = """
name: grid
algorithm: lms
parameters:
  learning_rate: {values: [0.1, 0.2, 0.3]}
  filter_size: {values: [3, 5]}
"""
RANDOM = """
name: grid
algorithm: lms
method: random
max_trials: 10
parameters:
  learning_rate: {min: 1e-6, max: 1e-3, scale: log}
  filter_size: {value: 5}
"""


def read(text: str, *overrides: str) -> Spec:
    return parse_spec(text, "grid.yaml", Path.cwd(), overrides)


def keys(plan: Plan) -> list[str]:
    """Point and seed of each trial, in order of number."""
    return [encode([point, seed]) for _, point, seed in plan]


RATES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, unique=True)
SIZES = st.lists(st.sampled_from([3, 5, 7]), min_size=1, unique=True)
SEEDS = st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True)
EXCLUDE = st.sampled_from(["[]", "[filter_size == 5]", "[learning_rate > 0.3 and filter_size < 7]"])


@st.composite
def specs(draw: st.DrawFn, method: str = "grid") -> Spec:
    overrides = [
        f"parameters.learning_rate.values={draw(RATES)}",
        f"parameters.filter_size.values={draw(SIZES)}",
        f"seeds={draw(SEEDS)}",
        f"method={method}",
    ]
    if draw(st.booleans()):
        overrides.append("points=[{learning_rate: 0.7, filter_size: 3}, {learning_rate: 0.2, filter_size: 5}]")
    exclude = draw(EXCLUDE)
    try:
        return read(GRID, *overrides, f"exclude={exclude}")
    except SpecError:  # it leaves no point
        return read(GRID, *overrides[:3], f"method={method}")


@pytest.mark.parametrize("method", ["grid", "random"])
@settings(max_examples=60)
@given(data=st.data())
def test_trials_that_exist_stay_and_only_what_is_new_is_added(method: str, data: st.DataObject) -> None:
    spec = data.draw(specs(method))
    next_ = 0
    for _ in range(data.draw(st.integers(1, 2))):
        next_ = data.draw(st.integers(next_, segments(spec).end))
        longer = data.draw(specs(method))
        existing = [trial for trial in segments(spec) if trial[0] < next_]
        wanted = {encode([point, seed]) for _, point, seed in existing} | set(keys(segments(longer)))
        spec = extended(spec, longer, next_)
    trials = list(segments(spec))
    assert trials[: len(existing)] == existing
    assert [trial[0] for trial in trials] == sorted({trial[0] for trial in trials})
    found = keys(segments(spec))
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert segments(spec).count() == (len(found), True)
    assert all(segments(spec).trial(number) == (point, seed) for number, point, seed in trials)


@settings(max_examples=30)
@given(data=st.data())
def test_an_extended_spec_survives_store_and_archive(data: st.DataObject) -> None:
    spec = extended(data.draw(specs()), data.draw(specs()), 3)
    assert Spec.from_json(spec.to_json()) == spec
    again = read(spec.to_yaml())
    assert again == spec
    assert list(segments(again)) == list(segments(spec))


def test_more_draws_are_further_indices_of_the_same_search() -> None:
    old = read(RANDOM)
    longer = extended(old, read(RANDOM, "max_trials=25"), 10)
    assert longer.earlier == ()
    assert list(segments(longer))[:10] == list(segments(old))
    assert len(set(keys(segments(longer)))) == 25


@pytest.mark.parametrize("method", ["grid", "random"])
def test_longer_lists_and_more_elements_are_added_to_those_there_are(method: str) -> None:
    text = f"""
name: grid
algorithm: ann
method: {method}
parameters:
  learning_rate: {{value: 0.1}}
  network_size: {{list: {{of: [8, 16], max_length: 2}}}}
"""
    old = read(text)
    changes = ["parameters.network_size.list={of: [16, 8, 32], min_length: 0, max_length: 3}"]
    longer = extended(old, read(text, *changes), 4)
    trials = list(segments(longer))
    assert trials[:4] == list(segments(old))[:4]
    assert len(trials) == len(set(keys(segments(longer)))) == 1 + 3 + 9 + 27
    assert Spec.from_json(longer.to_json()) == longer == read(longer.to_yaml())


def test_more_seeds_repeat_the_same_draws() -> None:
    old = read(RANDOM)
    longer = extended(old, read(RANDOM, "max_trials=20", "seeds=[0,1]"), 10)
    trials = list(segments(longer))
    assert trials[:10] == list(segments(old))
    assert len(trials) == 20
    assert {encode(point) for _, point, seed in trials if seed == 1} == {encode(point) for _, point, _ in trials[:10]}


def test_a_billion_points_are_extended_without_looking_at_them() -> None:
    big = """
name: grid
algorithm: lms
parameters:
  learning_rate: {min: 1e-9, max: 1e-3, count: 10000, scale: log}
  filter_size: {min: 1, max: 50000, step: 1}
"""
    old = read(big)
    longer = extended(old, read(big, "parameters.filter_size.max=100000"), 1_000)
    plan = segments(longer)
    taken, next_ = plan.take(1_000, 5)
    # The first thousand of the filter sizes exist; the search goes on with the next.
    assert [point["filter_size"] for _, point, _ in taken] == [1_001, 1_002, 1_003, 1_004, 1_005]
    assert next_ == 2_005
    assert plan.end == 1_000 + 10**9


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["name=other"], "name"),
        ([], "algorithm"),
        (["data={name: channel}"], "data"),
        (["metric=mse"], "metric"),
        (["method=random"], "method"),
        (["resources={class: gpu}"], "resources"),
        (["parameters.epochs.value=3"], "parameters.epochs"),
    ],
)
def test_what_cannot_change_is_named(changes: list[str], key: str) -> None:
    other = replace(read(GRID), code=Algorithm("klms")) if key == "algorithm" else read(GRID, *changes)
    with pytest.raises(InputError, match=f"^{key}: .*an extension cannot change it"):
        extended(read(GRID), other, 3)


def test_limits_may_change() -> None:
    longer = extended(read(GRID), read(GRID, "max_parallel=3", "timeout=10m", "retry={max_attempts: 7}"), 2)
    assert (longer.max_parallel, longer.timeout_s, longer.retry.max_attempts) == (3, 600.0, 7)
    assert longer.earlier == ()
