"""The example `lms-large` on the embedded server, while what works on it is killed one after another."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from optml_queue.embedded import down, join, status
from optml_queue.runner import run_serial
from optml_queue.spec import load_spec
from optml_queue.store import Store, WorkerInfo
from optml_queue.trial import TERMINAL_STATES, TrialState
from tests.processes import children_of, members_of, wait_until

pytestmark = pytest.mark.faults

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "lms-large.yaml"
# About 750 of its 10,080 trials: 28 rates, 9 filter sizes, 3 seeds.
SHORTENED = ["parameters.learning_rate.count=28", "parameters.filter_size.max=11", "seeds=[0, 1, 2]"]
TRIALS = 28 * 9 * 3
# Short, so that a lost worker is missed within a second or two.
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5"}
GONE_LIMIT_S = 10.0


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"from optml_queue.cli.main import {program}; {program}()", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")} | TIMES


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Path]:
    """A results folder whose host, if any, is ended after the test."""
    yield tmp_path / "optml-results"
    down(tmp_path / "optml-results")


@contextmanager
def submitter(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    overrides = [part for override in SHORTENED for part in ("--set", override)]
    with subprocess.Popen(
        command("submit_main", str(EXAMPLE), *overrides, "--workers", "2", "--quiet"), cwd=folder, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(store: Store, finished: int, pid: int) -> None:
    """`kill -9` when that many trials have ended, and before the experiment has."""
    (id_,) = store.active()
    wait_until(lambda: store.experiment(id_).finished >= finished, 40, f"{finished} trials")
    os.kill(pid, signal.SIGKILL)
    assert not store.experiment(id_).is_over


def held_in_a_trial(store: Store, worker: WorkerInfo) -> int:
    """Stop the worker's child (SIGSTOP) while it has a trial; its process id."""
    (id_,) = store.active()
    (child,) = children_of(int(worker.facts["pid"]))

    def is_held() -> bool:
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.05)  # what it finished before is noted meanwhile
        if any(trial.worker == worker.name for trial in store.page(id_, TrialState.RUNNING)):
            return True
        os.kill(child, signal.SIGCONT)
        return False

    wait_until(is_held, 20, "a trial to kill")
    return child


def test_after_killed_workers_and_a_killed_submitter_every_trial_has_ended_once(results: Path, tmp_path: Path) -> None:
    with submitter(tmp_path) as process:
        wait_until(lambda: status(results) is not None, 20, "the server")
        record = status(results)
        assert record is not None
        session_id = os.getsid(record.pid)
        with closing(Store.from_url(record.url)) as store:
            wait_until(lambda: len(store.active()) == 1 and len(store.workers()) == 2, 20, "workers")
            first, second = store.workers()
            kill_after(store, 50, held_in_a_trial(store, first))
            held_in_a_trial(store, second)
            kill_after(store, 150, int(second.facts["pid"]))
            kill_after(store, 400, process.pid)
        process.wait()
        wait_until(lambda: not members_of(session_id), GONE_LIMIT_S, "the end of all that the submitter started")

    resumed = subprocess.run(
        command("main", "resume", "latest", "--json", "--workers", "2"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    document = json.loads(resumed.stdout)
    assert document["state"] == "complete"
    assert sum(document["counts"].values()) == document["counts"]["complete"] + document["counts"]["diverged"] == TRIALS

    id_ = document["experiment"]
    with join(results, workers=0) as session, closing(Store.from_url(session.url)) as store:
        trials = list(store.stream(id_))
        again = [trial.number for trial in trials if trial.attempts > 1]
        reasons = [attempt.reason for number in again for attempt in store.attempts(id_, number)]
        ended = [trial.number for trial in store.finished(id_, 0, 10 * TRIALS)]
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} <= TERMINAL_STATES
    assert sorted(ended) == list(range(TRIALS))
    assert reasons.count("lost") >= 2, "the killed child's trial and the killed main's"

    # repr: to the last bit, and nan equals nan
    with (results / id_ / "results.csv").open() as file:
        rows = [(int(row["number"]), row["state"], row["attempts"], row["nmse"]) for row in csv.DictReader(file)]
    assert rows == [(t.number, t.state, str(t.attempts), repr(t.metrics["nmse"])) for t in trials]
    serial = {number: (r.state, repr(dict(r.metrics))) for number, r in run_serial(load_spec(EXAMPLE, SHORTENED))}
    assert {trial.number: (trial.state, repr(dict(trial.metrics))) for trial in trials} == serial
