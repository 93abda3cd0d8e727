"""Trials that are cut off in their midst go on from a checkpoint, and end as undisturbed ones do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from optml_queue.archive import Archive, open_archive
from optml_queue.checkpoint import decode_state
from optml_queue.driver import ActiveTrial, Order
from optml_queue.runner import data_of, run_attempt
from optml_queue.search import segments
from optml_queue.spec import Spec, parse_spec
from optml_queue.trial import Trial, TrialResult, TrialState
from tests.cluster import Cluster, cluster
from tests.processes import children_of
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.faults

TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5"}
DEATHS = 5
EPOCHS = 200
LONG = f"""
name: long
algorithm: lms
metric: {{name: nmse, at: best}}
parameters:
  learning_rate: {{value: 4e-6}}
  filter_size: {{value: 7}}
  epochs: {{value: {EPOCHS}}}
retry: {{max_attempts: {DEATHS + 2}}}
"""
# It says where it begins, and takes four seconds: long enough to be told to end, and less than its grace.
STEADY = """
import time


def train(trial):
    done = (trial.restore() or {"done": 0})["done"]
    trial.log(f"attempt {trial.attempt} goes on from {done}")
    while done < 200:
        time.sleep(0.02)
        done += 1
        trial.report(done, 1 / done)
        trial.checkpoint_if_due(lambda: {"done": done})
    return {"loss": 1 / done}
"""


def undisturbed(spec: Spec) -> tuple[TrialResult, dict[int, float], dict[int, bytes]]:
    """The result of the spec's first trial in this process, what it reports, and its weights after each epoch."""
    planned = segments(spec).trial(0)
    assert planned is not None
    curve: dict[int, float] = {}
    weights: dict[int, bytes] = {}

    def report(step: int, value: float) -> Order:
        curve[step] = value
        return Order.OK

    def keep(state: Mapping[str, Any]) -> Order:
        weights[state["epoch"]] = state["weights"].tobytes()
        return Order.OK

    trial = ActiveTrial(0, *planned, on_report=report, checkpoint_is_due=lambda: True, on_checkpoint=keep)
    result = run_attempt(spec.driver, data_of(spec), trial, metric=spec.metric, at=spec.at, goal=spec.goal)
    return result, curve, weights


def last_checkpoint(archive: Archive, experiment: str) -> tuple[str, dict[str, Any]]:
    """Name and state of the newest of the first trial's checkpoints, of which there are two."""
    keys = sorted(archive.keys(f"{experiment}/checkpoints/0"), key=lambda key: list(map(int, name_of(key).split("-"))))
    assert len(keys) == 2
    return name_of(keys[-1]), decode_state(archive.get(keys[-1]))


def name_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".npz")


def only(workers: Cluster, experiment: str) -> Trial:
    (trial,) = workers.trials(experiment)
    return trial


def test_five_kills_change_no_bit(server: ValkeyServer, tmp_path: Path) -> None:
    spec = parse_spec(LONG, "long.yaml", tmp_path)
    result, curve, weights = undisturbed(spec)
    points = sorted(Random(4).sample(range(10, EPOCHS // 2), DEATHS))
    environment = {"OPTML_BROKER_URL": server.url, "OPTML_CHECKPOINT_S": "0", **TIMES}
    with cluster(environment, tmp_path, 1) as workers:
        (main,) = workers.mains().values()
        experiment = workers.submit_spec(spec)
        for death, point in enumerate(points, start=1):
            workers.until(lambda point=point: len(workers.store.curve(experiment, 0)) >= point, f"epoch {point}")  # type: ignore[misc]
            workers.until(lambda death=death: only(workers, experiment).attempts == death, f"attempt {death}")  # type: ignore[misc]
            for child in children_of(main):
                os.kill(child, signal.SIGKILL)
        workers.end(experiment)
        trial = only(workers, experiment)
        assert [attempt.reason for attempt in workers.store.attempts(experiment, 0)] == ["lost"] * DEATHS
        assert (trial.state, trial.attempts) == (TrialState.COMPLETE, DEATHS + 1)
        assert repr(trial.metrics) == repr(dict(result.metrics))
        assert dict(workers.store.curve(experiment, 0)) == curve
        name, state = last_checkpoint(open_archive(workers.archive_url), experiment)
        assert state["weights"].tobytes() == weights[state["epoch"]]
        assert state["epoch"] == EPOCHS - 1
        attempt, count = map(int, name.split("-"))
        assert attempt == DEATHS + 1
        assert count <= EPOCHS - points[-1], "it did not begin anew"


def test_a_worker_that_is_told_to_end_hands_its_trial_on(server: ValkeyServer, tmp_path: Path) -> None:
    (tmp_path / "steady.py").write_text(STEADY)
    text = "name: steady\nprogram: steady.py\nmetric: loss\nparameters: {x: {value: 1}}\nretry: {max_attempts: 1}\n"
    environment = {"OPTML_BROKER_URL": f"{server.url[:-1]}1", "OPTML_GRACE_S": "30", **TIMES}
    with cluster(environment, tmp_path, 1) as workers:
        experiment = workers.submit_spec(parse_spec(text, "steady.yaml", tmp_path))
        workers.until(lambda: len(workers.store.curve(experiment, 0)) >= 10, "ten steps")
        told_at = time.monotonic()
        assert workers.stop() == 0
        # Nobody waited for the grace to be over.
        assert time.monotonic() - told_at < 15
        steps = len(workers.store.curve(experiment, 0))
        assert 10 <= steps < 200
        trial = only(workers, experiment)
        assert (trial.state, trial.attempts) == (TrialState.QUEUED, 1)
        (released,) = workers.store.attempts(experiment, 0)
        assert (released.reason, released.error) == ("released", "the worker was told to end")
        workers.start()
        workers.end(experiment)
        # One attempt is all that may fail: the one that was released did not.
        assert (only(workers, experiment).state, only(workers, experiment).attempts) == (TrialState.COMPLETE, 2)
        lines = [line for line in workers.store.logs(experiment, 0) if "goes on" in line]
        assert lines == ["attempt 1 goes on from 0", f"attempt 2 goes on from {steps}"]
