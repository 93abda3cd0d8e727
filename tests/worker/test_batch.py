"""The trials of one message in a worker's process, without a broker or a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optml_queue.spec import Spec, parse_spec
from optml_queue.store import Assignment, Carried, Ran
from optml_queue.worker.execution import Execution
from optml_queue.worker.message import TrialCall
from tests.worker.test_execution import settings_of

PROGRAM = """
def train(trial):
    if trial.params["rate"] == 3:
        raise ValueError("three is too much")
    if trial.params["rate"] == 7:
        trial.log("the worker is told to end")
    return {"loss": trial.params["rate"] / 4}
"""
SPEC = """
name: own
program: own.py
metric: loss
parameters: {rate: {min: 0, max: 9, step: 1}}
batch: auto
"""
X = "own-abcde"


class Noted:
    """A store that lets all trials run but number 5, and notes what it is told."""

    def __init__(self, spec: Spec) -> None:
        self._text = spec.to_json()
        self.results: dict[int, Ran] = {}
        self.turns: list[tuple[list[int], list[int]]] = []
        self.told: list[str] = []
        self.on_log: Any = None

    def spec(self, _experiment: str) -> str:
        return self._text

    def server_run_id(self) -> str:
        return "the same"

    def turn(
        self, _x: str, _token: str, _worker: str, _lease_s: float, ran: Sequence[Ran], next_: Carried
    ) -> tuple[list[str], dict[int, Assignment]]:
        self.turns.append(([each.number for each in ran], [number for number, _ in next_]))
        self.results |= {each.number: each for each in ran}
        return ["accepted"] * len(ran), {n: Assignment(1, {"rate": n}, 0) for n, _ in next_ if n != 5}

    def release(self, _x: str, number: int, *_: Any, error: str, failed: bool, **_more: Any) -> str:
        self.told.append(f"{number} released, failed={failed}: {error}")
        return "queued"

    def interrupt(self, _x: str, _token: str, reason: str, trials: Carried, error: str) -> str:
        self.told.append(f"{reason}: {[number for number, _ in trials]}: {error}")
        return "queued"

    def log(self, *_: Any) -> None:
        if self.on_log:
            self.on_log()


def batch(folder: Path) -> tuple[Noted, Execution]:
    (folder / "own.py").write_text(PROGRAM)
    store: Any = Noted(parse_spec(SPEC, "own.yaml", folder))
    return store, Execution(settings_of(folder), store, None, None)


def run(execution: Execution) -> str:
    call = TrialCall(X, 0, {"rate": 0}, 100, tuple((n, 100 + n) for n in range(1, 10)))
    return execution.run(call, token="token", worker="worker")


def test_each_has_a_result_of_its_own_and_a_failure_stops_nobody_else(tmp_path: Path) -> None:
    store, execution = batch(tmp_path)
    said = run(execution)
    assert {n: each.result.metrics for n, each in store.results.items()} == {
        n: {"loss": n / 4} for n in (0, 1, 2, 4, 6, 7, 8, 9)
    }
    assert store.told == ["3 released, failed=True: ValueError: three is too much"]
    assert said == "10 trials: 8 complete, 1 declined, 1 error"


def test_a_trial_begins_when_those_before_it_have_a_result_that_was_told(tmp_path: Path) -> None:
    store, execution = batch(tmp_path)
    run(execution)
    assert store.turns[0] == ([], [0])
    assert [n for _, begun in store.turns for n in begun] == list(range(10))
    told: set[int] = {3, 5}
    for ran, begun in store.turns:
        told.update(ran)
        assert not begun or told >= set(range(begun[0]))
    for each in store.results.values():
        assert each.began_ago_s >= each.ended_ago_s >= 0


def test_a_worker_that_is_told_to_end_hands_the_rest_back(tmp_path: Path) -> None:
    store, execution = batch(tmp_path)
    store.on_log = execution.ending.begin
    said = run(execution)
    assert sorted(store.results) == [0, 1, 2, 4, 6, 7]
    assert store.told[1:] == [f"released: {list(range(10))}: the worker was told to end"]
    assert said.endswith("handed back: the worker was told to end")
