"""A rolling update: workers of the old and of the new version take from one queue, and every trial runs once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import optml_queue
from optml_queue.driver import algorithms_dir
from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

TRIALS = 40


def next_version(folder: Path) -> Path:
    """A copy of this package whose workers say of themselves that they are the next version."""
    package = folder / "optml_queue"
    shutil.copytree(Path(optml_queue.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(algorithms_dir(), folder / "algorithms", ignore=shutil.ignore_patterns("__pycache__"))
    heartbeat = package / "worker" / "heartbeat.py"
    old = heartbeat.read_text()
    new = old.replace('"pid": os.getpid(),', '"pid": os.getpid(), "release": "next",')
    assert new != old
    heartbeat.write_text(new)
    return folder


def of_next_version(workers: Cluster) -> set[str]:
    return {worker.name for worker in workers.store.workers() if worker.facts.get("release") == "next"}


def test_a_new_version_takes_over_while_trials_run(tmp_path: Path) -> None:
    marks, new_folder = tmp_path / "marks", tmp_path / "new"
    marks.mkdir()
    new_folder.mkdir()
    with valkey_server() as server:
        # One archive, as in a cluster.
        shared = {"OPTML_BROKER_URL": server.url, "OPTML_ARCHIVE_URL": str(tmp_path / "archive")}
        with cluster(shared, tmp_path) as old:
            count = f"{{min: 1, max: {TRIALS}, step: 1}}"
            experiment = old.submit(f"  value: {count}\n  sleep_s: {{value: 0.1}}\n  marks: {{value: {marks}}}")
            old.until(lambda: old.store.experiment(experiment).finished > TRIALS // 10, "trials of the old version")
            # Until the new workers are there: on a busy machine all trials would have ended before.
            old.store.pause(experiment)
            path = os.pathsep.join([str(next_version(tmp_path / "next")), str(Path(__file__).parents[2])])
            with cluster({**shared, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}, new_folder) as new:
                new.until(lambda: len(of_next_version(new)) == 2, "workers of the new version")
                names = of_next_version(new)
                old.store.resume(experiment)
                before = old.store.experiment(experiment).finished
                assert old.stop() == 0, "the old workers ended in good order"
                assert new.end(experiment).counts[TrialState.COMPLETE] == TRIALS
                trials = new.trials(experiment)
    assert before < TRIALS, "the update came while trials ran"
    assert {trial.attempts for trial in trials} == {1}
    assert len(list(marks.iterdir())) == TRIALS, "every trial began once"
    by_new = {trial.number for trial in trials if trial.worker in names}
    assert by_new, "the new version took trials"
    assert len(by_new) < TRIALS, "the old version took trials"
