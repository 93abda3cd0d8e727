"""Which trials descend from which."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from optml_queue.lineage import LOOKED_AT, children
from optml_queue.trial import Trial, TrialState


def family(seeds: int) -> dict[int, Trial]:
    """Points 0 … 9, of which the odd ones from 3 on descend from point 1, and the even ones from point 2."""
    found = {}
    for number in range(10 * seeds):
        point, seed = divmod(number, seeds)
        origin = {"parents": [(2 - point % 2) * seeds]} if point > 2 else {}
        found[number] = Trial(number, TrialState.COMPLETE, {"x": point}, seed, origin=origin)
    return found


def spec(method: object, seeds: int) -> str:
    return json.dumps({"method": method, "seeds": list(range(seeds))})


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_children_of_a_point_are_those_of_each_of_its_trials(seeds: int) -> None:
    trials = family(seeds)

    def read(numbers: Sequence[int]) -> list[Trial]:
        return [trials[number] for number in numbers if number in trials]

    for seed in range(seeds):
        found = children(trials[seeds + seed], spec([{"random": 3}, {"evolution": "rest"}], seeds), read)
        assert found == [point * seeds for point in (3, 5, 7, 9)]
    assert children(trials[9 * seeds], spec("evolution", seeds), read) == []


def test_no_other_search_is_asked() -> None:
    def read(_numbers: Sequence[int]) -> list[Trial]:
        raise AssertionError

    assert children(family(1)[1], spec("tpe", 1), read) == []


def test_a_trial_among_millions_is_asked_for_few() -> None:
    asked: list[int] = []

    def read(numbers: Sequence[int]) -> list[Trial]:
        asked.extend(numbers)
        return []

    trial = Trial(10**6, TrialState.COMPLETE, {"x": 1}, 0)
    assert children(trial, spec("evolution", 1), read) == []
    assert asked == list(range(10**6, 10**6 + LOOKED_AT))
