"""Which results of earlier experiments fit into a space, and which of too many are kept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from optml_queue import starting
from optml_queue.driver import Goal, load_driver
from optml_queue.earlier import EarlierExperiment
from optml_queue.restoration import submission_of
from optml_queue.search.start import EarlierPoint
from optml_queue.spec import Spec, parse_spec
from optml_queue.store import Experiment
from optml_queue.trial import Params, Trial, TrialState

COMPLETE, DIVERGED = TrialState.COMPLETE, TrialState.DIVERGED
EPOCHS = load_driver("lms").parameters["epochs"].default


@dataclass
class Kept:
    """A store of one experiment."""

    kept: list[Trial]

    def experiments(self) -> list[Experiment]:
        raise AssertionError

    def experiment(self, experiment: str, /) -> Experiment:
        raise AssertionError

    def resolve(self, text: str, /) -> str:
        raise AssertionError

    def stream(self, _experiment: str, /) -> Iterator[Trial]:
        return iter(self.kept)


def spec(parameters: str, more: str = "") -> Spec:
    text = f"name: t\nalgorithm: lms\nmethod: tpe\nmax_trials: 9\nparameters: {parameters}\n{more}"
    return parse_spec(text, "t.yaml", Path.cwd())


def found(wanted: Spec, trials: list[Trial]) -> tuple[list[tuple[EarlierPoint, int]], Counter[str]]:
    record = Experiment.opened("lms-k3f9a", submission_of(wanted, {}))
    reasons = Counter[str]()
    points = list(starting.Fitting(wanted).points(EarlierExperiment(record, Kept(trials)), reasons))
    return points, reasons


def trial(number: int, params: Params, state: TrialState = COMPLETE, value: float | None = 1.0, seed: int = 0) -> Trial:
    return Trial(number, state, params, seed, {} if value is None else {"nmse": value})


WANTED = "{learning_rate: {min: 1e-6, max: 0.1}, filter_size: {value: 5}}"
POINT: Params = {"learning_rate": 0.01, "filter_size": 5}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        (POINT, ""),
        ({**POINT, "epochs": EPOCHS}, ""),  # what trials have here by default
        ({**POINT, "epochs": 77}, "have epochs, which is not searched"),
        ({**POINT, "learning_rate": 0.2}, "have another learning_rate than is searched"),
        ({**POINT, "filter_size": 6}, "have another filter_size than is searched"),
        ({**POINT, "filter_size": 5.0}, ""),
        ({"filter_size": 5}, "lack learning_rate"),
    ],
)
def test_a_point_fits_that_the_space_could_have_chosen(params: Params, problem: str) -> None:
    points, reasons = found(spec(WANTED), [trial(0, params)])
    assert [point.params for point, _ in points] == ([] if problem else [POINT])
    assert reasons == {problem: 1}


def test_what_an_earlier_spec_left_out_had_the_default() -> None:
    points, _ = found(
        spec("{learning_rate: {min: 1e-6, max: 0.1}, epochs: {min: 1, max: 90}}"),
        [trial(0, {**POINT, "filter_size": 6})],
    )
    assert points == []  # that is not the default
    points, _ = found(spec(WANTED.replace("}}", "}, epochs: {min: 1, max: 90}}")), [trial(0, POINT)])
    assert points[0][0].params == {**POINT, "epochs": EPOCHS}


def test_conditions_decide_as_in_the_space() -> None:
    conditional = "{learning_rate: [0.01, 0.02, 0.03], filter_size: {values: [5, 6], when: learning_rate < 0.015}}"
    wanted = spec(conditional, "exclude: ['learning_rate == 0.03']")
    trials = [trial(0, POINT), trial(1, {"learning_rate": 0.03}), trial(2, {"learning_rate": 0.02, "filter_size": 6})]
    points, reasons = found(wanted, trials)
    assert [point.number for point, _ in points] == [0]
    assert reasons == {"": 1, "are excluded": 1, "have filter_size, which is not searched": 1}


def test_seeds_are_one_point_and_only_results_count() -> None:
    states = [TrialState.FAILED, TrialState.CANCELLED, TrialState.RUNNING, TrialState.QUEUED]
    trials = [trial(0, POINT, value=1.0), trial(1, POINT, value=3.0, seed=1)]
    trials += [trial(2 + n, {**POINT, "learning_rate": 0.02}, state, None, n) for n, state in enumerate(states)]
    trials += [trial(6, {**POINT, "learning_rate": 0.03}, DIVERGED, None)]
    trials += [trial(7, {**POINT, "learning_rate": 0.04}, TrialState.STOPPED_EARLY, None)]
    trials += [trial(8, {**POINT, "learning_rate": 0.05}, TrialState.STOPPED_EARLY, 2.0)]
    points, reasons = found(spec(WANTED), trials)
    assert [(point.number, point.state, point.value, n) for point, n in points] == [
        (0, COMPLETE, 2.0, 2),
        (6, DIVERGED, None, 1),
        (8, TrialState.STOPPED_EARLY, 2.0, 1),
    ]
    assert reasons == {"": 4, "failed": 1, "were cancelled": 1, "have not ended": 2, "have no nmse": 1}


def test_a_search_for_the_front_needs_all_metrics_of_what_is_complete() -> None:
    trials = [trial(n, {**POINT, "learning_rate": 0.01 + 0.01 * n}) for n in range(3)]
    trials[0].metrics["mse"] = 5.0
    trials[2] = replace(trials[2], state=TrialState.STOPPED_EARLY)
    several = "metrics: [{name: nmse}, {name: mse}]\n"
    points, reasons = found(spec(WANTED, several), trials)
    assert [(point.value, point.others) for point, _ in points] == [(1.0, (5.0,)), (1.0, (None,)), (1.0, (None,))]
    assert reasons == {"": 3}
    points, reasons = found(replace(spec(WANTED, several), method="nsga2"), trials)
    assert [point.number for point, _ in points] == [0, 2]
    assert reasons == {"": 2, "have no mse": 1}


@pytest.mark.parametrize("goal", Goal)
def test_of_too_many_the_best_are_kept_and_an_even_sample(goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "BEST", 10)
    monkeypatch.setattr(starting, "OTHERS", 40)
    values = random.Random(3).sample(range(1_000), 1_000)
    sample = starting._Sample(goal)
    for number, value in enumerate(values):
        state = DIVERGED if value % 10 == 0 else COMPLETE
        figure = None if state is DIVERGED else float(value)
        sample.add(EarlierPoint("a", number, {}, state, figure), 1)
    kept = [point for point, _ in sample.kept]
    finite = [point.value for point in kept if point.value is not None]
    assert finite == sorted(finite, reverse=goal is Goal.MINIMIZE)  # the best come last
    best = sorted((value for value in values if value % 10), reverse=goal is Goal.MAXIMIZE)[:10]
    assert finite[-10:] == [float(value) for value in reversed(best)]
    assert 30 <= len(kept) <= 50
    assert kept[0].value is not None  # a diverged point is as bad as the worst before it
    others = sorted(point.number for point in kept[:-10])
    assert max(after - before for before, after in pairwise(others)) < 100


def test_a_few_are_all_kept() -> None:
    sample = starting._Sample(Goal.MINIMIZE)
    for number in range(1_500):
        sample.add(EarlierPoint("a", number, {}, COMPLETE, float(number)), 2)
    assert sorted(point.number for point, _ in sample.kept) == list(range(1_500))
    assert {trials for _, trials in sample.kept} == {2}


def test_the_words_for_it() -> None:
    source = starting._source("lms-k3f9a", 31, Counter({"": 31, "failed": 3, "lack depth": 2}))
    assert starting.source_line(source) == "lms-k3f9a: 31 of 36 trials are used; 3 failed; 2 lack depth"
    left_out = starting._source("lms-k3f9a", 20, Counter({"": 31}))
    assert starting.source_line(left_out) == (
        "lms-k3f9a: 20 of 31 trials are used; 11 left out: more than 2,000 points"
    )
    assert replace(source, unused={}).to_dict()["unused"] == {}
