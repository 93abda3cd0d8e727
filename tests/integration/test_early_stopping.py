"""Early stopping, targets and constraints with real workers: a driver, a program and a command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from optml_queue.archive import open_archive
from optml_queue.spec import parse_spec
from optml_queue.store import ExperimentState
from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5", "OPTML_GRACE_S": "2"}
RULE = "early_stopping: {method: asha, min_steps: 1, reduction: 3, max_steps: 9}"

PROGRAM = """
import time

def train(trial):
    for epoch in range(1, 10):
        time.sleep(0.01)
        trial.report(epoch, trial.params["level"] + 1.0 / epoch)
    return {"loss": trial.params["level"], "size": 40 - trial.params["level"]}
"""
COMMAND = """
import sys, time
level = int(sys.argv[1])
for epoch in range(1, 10):
    print(f"step={epoch} loss={level + 1.0 / epoch}", flush=True)
    time.sleep(0.25 if level else 0.01)
print(f"loss={level}")
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("workers")
    (folder / "train.py").write_text(PROGRAM)
    (folder / "shell.py").write_text(COMMAND)
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, folder) as running:
        yield running


def submitted(workers: Cluster, text: str) -> str:
    return workers.submit_spec(parse_spec(dedent(text), "test.yaml", workers.folder))


def kill_one(workers: Cluster) -> None:
    """Kill a worker that lives; one that was killed before is known for a while."""
    for pid in workers.mains().values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("no worker lives")


def test_asha_stops_most_trials_and_loses_none_though_workers_are_killed(workers: Cluster) -> None:
    id_ = submitted(
        workers,
        f"""
        name: asha
        program: train.py
        metric: loss
        parameters:
          level: {{min: 0, max: 39, step: 1}}
        retry: {{max_attempts: 9}}
        {RULE}
        """,
    )
    for enough in (5, 20):
        workers.until(lambda enough=enough: workers.store.experiment(id_).finished >= enough, f"{enough} trials")  # type: ignore[misc]  # mypy: a default in a lambda
        kill_one(workers)
    ended = workers.end(id_)
    counts = ended.counts
    assert ended.state is ExperimentState.COMPLETE
    assert counts[TrialState.COMPLETE] + counts[TrialState.STOPPED_EARLY] == 40
    assert counts[TrialState.STOPPED_EARLY] > counts[TrialState.COMPLETE]
    (best,) = workers.store.best(id_)
    assert best.metrics["loss"] == 0
    for trial in workers.trials(id_):
        if trial.state is TrialState.STOPPED_EARLY:
            step = max(workers.store.curve(id_, trial.number))
            assert trial.metrics["loss"] == pytest.approx(float(str(trial.params["level"])) + 1.0 / step)
            assert trial.reason == f"stopped early at step {step}"


def test_a_command_is_stopped_early(workers: Cluster) -> None:
    id_ = submitted(
        workers,
        f"""
        name: command
        command: ["{Path(sys.executable)}", shell.py, "{{level}}"]
        files: shell.py
        metric: loss
        parameters:
          level: {{min: 0, max: 4, step: 1}}
        {RULE}
        """,
    )
    counts = workers.end(id_).counts
    assert counts[TrialState.COMPLETE] + counts[TrialState.STOPPED_EARLY] == 5
    assert counts[TrialState.STOPPED_EARLY] >= 2


def test_a_target_ends_an_experiment_and_a_constraint_keeps_trials_from_it(workers: Cluster) -> None:
    id_ = submitted(
        workers,
        """
        name: target
        program: train.py
        metrics: [{name: loss}, {name: size}, {name: duration_s}]
        constraints: [size <= 38]
        parameters:
          level: {min: 0, max: 999, step: 1}
        target: 2
        max_parallel: 1  # else a slow worker may still have the first when the third ends all
        """,
    )
    ended = workers.end(id_)
    assert ended.state is ExperimentState.COMPLETE
    assert ended.reason == "target reached: trial 2 has loss 2"
    assert ended.counts[TrialState.COMPLETE] < 20
    first, second, third = workers.store.trials(id_, [0, 1, 2])
    assert [first.reason, second.reason] == ["infeasible: size <= 38"] * 2
    assert third.metrics["duration_s"] >= 0.09
    (best,) = workers.store.best(id_)
    assert best.number == 2
    workers.until(lambda: workers.store.experiment(id_).is_consolidated, "the final files")
    archived = open_archive(workers.archive_url).keys(id_)
    assert f"{id_}/pareto.png" in set(archived)
