"""How an experiment's end becomes an exit code, a JSON document and words."""

from __future__ import annotations

import json

import pytest

from optml_queue.cli.outcome import Outcome, census, troubles
from optml_queue.cli.ranking import Standing
from optml_queue.store import ExperimentState
from optml_queue.trial import Trial, TrialState, encode
from tests.cli.memory_source import experiment, trial


def outcome(trials: list[Trial], state: str = "complete", *, interrupted: bool = False) -> Outcome:
    best = next((each for each in trials if each.state is TrialState.COMPLETE), None)
    return Outcome(
        experiment=experiment(trials, state=ExperimentState(state)),
        best=Standing(best, 1, best.metrics["nmse"]) if best else None,
        archive="optml-results/lms-k3f9a",
        duration_s=1.25,
        interrupted=interrupted,
    )


@pytest.mark.parametrize(
    ("states", "state", "code", "strict_code"),
    [
        (["complete"], "complete", 0, 0),
        (["complete", "diverged"], "complete", 0, 0),
        (["complete", "failed"], "complete", 0, 1),
        (["diverged", "diverged"], "complete", 1, 1),
        (["complete", "failed"], "failed", 1, 1),
        (["complete", "cancelled"], "cancelled", 0, 0),
        ([], "failed", 1, 1),
    ],
)
def test_exit_codes(states: list[str], state: str, code: int, strict_code: int) -> None:
    ended = outcome([trial(n, each) for n, each in enumerate(states)], state)
    assert ended.exit_code() == code
    assert ended.exit_code(strict=True) == strict_code


def test_an_interrupted_one_is_130_whatever_is_done() -> None:
    assert outcome([trial(0)], "paused", interrupted=True).exit_code() == 130


def test_the_document_has_what_scripts_ask_for() -> None:
    document = json.loads(encode(outcome([trial(0), trial(1, "failed")]).document()))
    assert document == {
        "experiment": "lms-k3f9a",
        "state": "complete",
        "counts": {
            "queued": 0,
            "running": 0,
            "complete": 1,
            "diverged": 0,
            "failed": 1,
            "stopped_early": 0,
            "cancelled": 0,
        },
        "reused": 0,
        "best": {
            "number": 0,
            "params": {"learning_rate": 0.5, "filter_size": 5},
            "seed": 0,
            "metric": "nmse",
            "value": 0.1,
        },
        "archive": "optml-results/lms-k3f9a",
        "duration_s": 1.25,
    }


def test_without_a_complete_trial_best_is_null() -> None:
    assert outcome([trial(0, "failed")], "failed").document()["best"] is None


def test_the_census_leaves_out_what_there_is_none_of() -> None:
    counts = dict.fromkeys(TrialState, 0) | {TrialState.COMPLETE: 1_100, TrialState.STOPPED_EARLY: 2}
    assert census(counts) == "1,100 complete, 2 stopped early"
    assert census(counts, reused=1_000) == "1,100 complete, 2 stopped early (1,000 reused)"
    assert census(dict.fromkeys(TrialState, 0)) == "no trials"


def test_troubles_quote_the_first_error_in_one_line() -> None:
    counts = {TrialState.FAILED: 2, TrialState.DIVERGED: 1}
    failed = trial(3, "failed", error="ValueError: no\nmore lines")
    diverged = trial(5, "diverged", reason="mse is inf")
    assert troubles(failed, diverged, counts) == [
        "2 trials failed, the first of them trial 3: ValueError: no",
        "1 trial diverged, trial 5: mse is inf",
    ]
    assert troubles(None, None, counts) == []
