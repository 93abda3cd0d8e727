"""Real workers under faults: every trial ends exactly once, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from optml_queue.driver import Order
from optml_queue.publish import Publisher
from optml_queue.settings import read_settings
from optml_queue.store import ExperimentState, Publication
from optml_queue.trial import Trial, TrialState
from optml_queue.worker.application import Application
from optml_queue.worker.backend import TrialFailedError
from tests.cluster import Cluster, cluster
from tests.processes import children_of
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.faults

# Short, so that a lost worker is missed within a second or two.
TIMES = {
    "OPTML_BEAT_S": "0.3",
    "OPTML_LEASE_S": "1.2",
    "OPTML_VISIBILITY_S": "1.5",
    "OPTML_GRACE_S": "2",
}


@pytest.fixture(scope="module")
def workers(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path_factory.mktemp("workers")) as running:
        yield running


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path


def only(workers: Cluster, experiment: str) -> Trial:
    (trial,) = workers.trials(experiment)
    return trial


def test_a_killed_child_is_told_at_once_and_its_trial_runs_again(workers: Cluster) -> None:
    began = time.monotonic()
    experiment = workers.submit("  dies_of: {value: 9}\n  value: {value: 2.0}")
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    took_s = time.monotonic() - began
    trial = only(workers, experiment)
    assert (trial.state, trial.attempts, trial.metrics) == (TrialState.COMPLETE, 2, {"nmse": 4.0 + 1 / 3})
    (lost,) = workers.store.attempts(experiment, 0)
    assert (lost.attempt, lost.reason, lost.error) == (1, "lost", "was killed (SIGKILL): out of memory?")
    assert took_s < float(TIMES["OPTML_LEASE_S"]), "the store learned of it only when the lease ran out"


def test_a_crash_in_c_code_fails_with_the_name_of_its_signal(workers: Cluster) -> None:
    experiment = workers.submit("  dies_of: {value: 11}\n  deaths: {value: 9}")
    assert workers.end(experiment).state is ExperimentState.FAILED
    trial = only(workers, experiment)
    assert (trial.state, trial.reason, trial.error) == (TrialState.FAILED, "crashed", "crashed (SIGSEGV)")


def test_a_trial_that_kills_every_worker_it_meets_stops_after_its_attempts(workers: Cluster) -> None:
    experiment = workers.submit("  dies_of: {value: 9}\n  deaths: {value: 99}")
    workers.end(experiment)
    assert [attempt.reason for attempt in workers.store.attempts(experiment, 0)] == ["lost"] * 3
    assert only(workers, experiment).state is TrialState.FAILED


def test_an_error_is_tried_again_where_the_spec_says_so(workers: Cluster) -> None:
    more = "retry: {max_attempts: 2, on: [error]}"
    experiment = workers.submit("  fails: {values: [0, 1, 2]}", more)
    workers.end(experiment)
    ended = [(trial.state, trial.attempts) for trial in workers.trials(experiment)]
    assert ended == [(TrialState.COMPLETE, 1), (TrialState.COMPLETE, 2), (TrialState.FAILED, 2)]
    assert "ValueError: attempt 2 fails" in workers.trials(experiment)[2].error
    assert "in behave" in workers.store.attempts(experiment, 2)[0].traceback


def test_a_trial_over_its_timeout_is_ended_from_outside(workers: Cluster) -> None:
    began = time.monotonic()
    experiment = workers.submit("  sleep_s: {value: 30.0}", "timeout: 1s")
    workers.end(experiment)
    trial = only(workers, experiment)
    assert (trial.state, trial.reason, trial.error) == (TrialState.FAILED, "timeout", "exceeded its timeout of 1 s")
    assert time.monotonic() - began < 5


def test_a_killed_main_process_takes_its_child_with_it_and_is_replaced(workers: Cluster, marks: Path) -> None:
    experiment = workers.submit(f"  sleep_s: {{value: 1.5}}\n  marks: {{value: {marks}}}")
    child = workers.marked(marks, "0.1")
    name = only(workers, experiment).worker
    os.kill(workers.mains()[name], signal.SIGKILL)
    workers.until(lambda: not Path(f"/proc/{child}").exists(), "end of the orphan")
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    assert [attempt.reason for attempt in workers.store.attempts(experiment, 0)] == ["lost"]
    workers.until(lambda: len(workers.mains()) == 2, "replacement")


def test_a_long_trial_keeps_its_lease_and_its_message(workers: Cluster) -> None:
    # Longer than lease and visibility, in a sleep that never looks up: only the parent's beat can keep it.
    experiment = workers.submit("  sleep_s: {value: 3.0}")
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    assert only(workers, experiment).attempts == 1


def test_a_cancelled_trial_that_asks_ends_soon_and_one_that_does_not_is_killed(workers: Cluster, marks: Path) -> None:
    experiment = workers.submit(
        f"  polite: {{values: [true, false]}}\n  sleep_s: {{value: 60.0}}\n  marks: {{value: {marks}}}"
    )
    rude = workers.marked(marks, "1.1")
    workers.marked(marks, "0.1")
    workers.store.cancel(experiment)
    workers.until(lambda: workers.trials(experiment)[0].state is TrialState.CANCELLED, "polite end", limit_s=4)
    assert workers.end(experiment, limit_s=12).state is ExperimentState.CANCELLED
    assert {trial.state for trial in workers.trials(experiment)} == {TrialState.CANCELLED}
    workers.until(lambda: not Path(f"/proc/{rude}").exists(), "end of the rude process")


def test_a_stopped_experiment_lets_its_trials_finish_and_keeps_the_rest(workers: Cluster, marks: Path) -> None:
    experiment = workers.submit(
        f"  value: {{min: 1, max: 12, step: 1}}\n  sleep_s: {{value: 0.5}}\n  polite: {{value: true}}\n"
        f"  marks: {{value: {marks}}}"
    )
    workers.marked(marks, "0.1")
    workers.store.stop(experiment, "enough")
    record = workers.end(experiment)
    assert (record.state, record.reason) == (ExperimentState.STOPPED, "enough")
    assert record.counts[TrialState.COMPLETE] == len(list(marks.iterdir())) < 12
    workers.until(lambda: workers.store.experiment(experiment).is_consolidated, "archived experiment")
    workers.store.resume(experiment)
    assert workers.end(experiment).counts[TrialState.COMPLETE] == 12
    assert [trial.attempts for trial in workers.trials(experiment)] == [1] * 12


def test_celery_reads_results_from_the_store(workers: Cluster, server: ValkeyServer) -> None:
    app = Application(read_settings({"OPTML_BROKER_URL": server.url}))
    done = workers.submit("  value: {value: 3.0}\n  fails: {values: [0, 9]}")
    workers.end(done)
    good, bad = app.AsyncResult(f"{done}.0.1"), app.AsyncResult(f"{done}.1.1")
    assert good.get(timeout=5) == {"state": "complete", "metrics": {"nmse": 9.0 + 1 / 3}}
    with pytest.raises(TrialFailedError, match="ValueError"):
        bad.get(timeout=5)
    assert app.AsyncResult("nothing-abcde.0.1").state == "PENDING"


def test_messages_of_strangers_change_nothing(workers: Cluster, server: ValkeyServer) -> None:
    before = workers.mains()
    queue = "optml-default"
    properties = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": queue}}
    junk: list[str | bytes] = [
        b"\xff\xfe\x00",
        "not json",
        "[]",
        "{}",
        "17",
        '{"__type__": "decimal", "__value__": "x"}',
        "[" * 3000,
        json.dumps({"body": "x", "properties": None}),
        json.dumps({"body": "x", "properties": {"delivery_tag": 1}}),
        json.dumps({"body": "x", "properties": properties, "headers": []}),
        json.dumps({"body": "!", "properties": properties | {"body_encoding": "base64"}, "headers": {}}),
        json.dumps({"body": "[]", "properties": properties, "headers": {"task": "os.system", "id": "1"}}),
    ]
    with redis.Redis.from_url(server.url) as client:
        for text in junk:
            client.lpush(queue, text)
    app = Application(read_settings({"OPTML_BROKER_URL": server.url}))
    task = app.tasks["optml.trial"]
    for args, kwargs in (
        ([], {}),
        (["e", 0], {"generation": 1}),
        (["e", -1, {}], {"generation": 1}),
        (["e", True, {}], {"generation": 1}),
        (["e", 0, []], {"generation": 1}),
        (["e" * 500, 0, {}], {"generation": 1}),
        (["e", 0, {"x": "y" * 70_000}], {"generation": 1}),
        (["e", 0, {}], {"generation": "1"}),
        (["e", 0, {}], {"generation": 1, "more": 2}),
        (["unknown-abcde", 0, {}], {"generation": 1}),
    ):
        task.apply_async(args, kwargs)
    experiment = workers.submit("  value: {values: [1.0, 2.0, 3.0]}")
    workers.end(experiment)
    assert [trial.attempts for trial in workers.trials(experiment)] == [1, 1, 1]
    with redis.Redis.from_url(server.url) as client:
        workers.until(lambda: client.llen(queue) == 0, "empty queue")
    assert workers.mains() == before


def test_a_message_sent_twice_runs_once(workers: Cluster, server: ValkeyServer, marks: Path) -> None:
    experiment = workers.submit(f"  sleep_s: {{value: 0.5}}\n  marks: {{value: {marks}}}")
    workers.marked(marks, "0.1")
    trial = only(workers, experiment)
    publisher = Publisher(Application(read_settings({"OPTML_BROKER_URL": server.url})))
    publisher.publish([Publication(experiment, 0, trial.params, generation, "default") for generation in (1, 1, 2, 99)])
    publisher.close()
    workers.end(experiment)
    with redis.Redis.from_url(server.url) as client:
        workers.until(lambda: client.llen("optml-default") == 0, "empty queue")
    assert only(workers, experiment).attempts == 1
    assert [mark.name for mark in marks.iterdir()] == ["0.1"]


def test_an_order_to_release_runs_the_trial_again(workers: Cluster, marks: Path) -> None:
    experiment = workers.submit(f"  sleep_s: {{value: 1.0}}\n  polite: {{value: true}}\n  marks: {{value: {marks}}}")
    workers.marked(marks, "0.1")
    workers.store.order(experiment, 0, Order.RELEASE)
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    (released,) = workers.store.attempts(experiment, 0)
    assert released.reason == "released"


def test_the_archive_is_written_when_the_experiment_is_over(workers: Cluster) -> None:
    experiment = workers.submit("  value: {values: [1.0, 2.0]}")
    workers.end(experiment)
    workers.until(lambda: workers.store.experiment(experiment).is_consolidated, "archive")
    assert (workers.folder / "archive" / experiment / "results.csv").read_text().count("complete") == 2


def test_the_control_process_is_replaced(workers: Cluster) -> None:
    assert workers.process is not None
    (control,) = set(children_of(workers.process.pid)) - set(workers.mains().values())
    os.kill(control, signal.SIGKILL)
    experiment = workers.submit("  value: {values: [1.0, 2.0]}")
    assert workers.end(experiment).state is ExperimentState.COMPLETE


def test_a_server_that_restarts_and_then_crashes_loses_no_trial(tmp_path: Path) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        values = ", ".join(f"{number}.0" for number in range(120))
        experiment = workers.submit(f"  value: {{values: [{values}]}}\n  sleep_s: {{value: 0.02}}")
        for share, end in ((20, server.stop), (70, partial(server.crash, forgotten_bytes=20_000))):
            workers.until(lambda share=share: workers.store.experiment(experiment).finished >= share, "progress")  # type: ignore[misc]
            end()
            time.sleep(0.2)
            server.start()
        found = workers.end(experiment, limit_s=60)
        trials = workers.trials(experiment)
        assert found.counts[TrialState.COMPLETE] == 120
        assert [trial.number for trial in trials] == list(range(120))
        assert [trial.metrics["nmse"] for trial in trials] == [number**2 + 1 / 3 for number in range(120)]
        assert workers.stop() == 0


def test_a_trial_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        experiment = workers.submit(f"  sleep_s: {{value: 3.5}}\n  marks: {{value: {tmp_path}}}")
        workers.marked(tmp_path, "0.1")
        server.stop()
        server.start()
        workers.end(experiment)
        assert only(workers, experiment).attempts == 1


def test_results_wait_for_a_server_that_is_full(workers: Cluster, marks: Path) -> None:
    experiment = workers.submit(f"  sleep_s: {{value: 1.0}}\n  marks: {{value: {marks}}}")
    workers.marked(marks, "0.1")
    workers.store.client.config_set("maxmemory", "1")
    said = "it takes no writes"
    workers.until(lambda: said in workers.log.read_text(), "refused result")
    workers.store.client.config_set("maxmemory", "0")
    assert workers.end(experiment).state is ExperimentState.COMPLETE
    assert [mark.name for mark in marks.iterdir()] == ["0.1"]


def test_a_second_sigterm_hands_back_at_once(tmp_path: Path) -> None:
    times = {**TIMES, "OPTML_GRACE_S": "60"}
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **times}, tmp_path, 1) as workers:
        experiment = workers.submit(f"  sleep_s: {{value: 60.0}}\n  marks: {{value: {tmp_path}}}")
        workers.marked(tmp_path, "0.1")
        assert workers.process is not None
        workers.process.send_signal(signal.SIGTERM)
        workers.until(lambda: "shutdown" in workers.log.read_text(), "soft stop")
        began = time.monotonic()
        assert workers.stop() == 0
        assert time.monotonic() - began < 5
        assert [attempt.reason for attempt in workers.store.attempts(experiment, 0)] == ["released"]


def test_sigterm_waits_for_a_short_trial_and_hands_a_long_one_back(tmp_path: Path) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        experiment = workers.submit(f"  sleep_s: {{values: [1.2, 60.0]}}\n  marks: {{value: {tmp_path}}}")
        short, long = workers.marked(tmp_path, "0.1"), workers.marked(tmp_path, "1.1")
        began = time.monotonic()
        assert workers.stop() == 0
        assert 1.5 < time.monotonic() - began < 7
        trials = workers.trials(experiment)
        assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.QUEUED]
        assert [attempt.reason for attempt in workers.store.attempts(experiment, 1)] == ["released"]
        assert not any(Path(f"/proc/{pid}").exists() for pid in (short, long))
        assert workers.store.workers() == []


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        experiment = workers.submit(f"  sleep_s: {{value: 60.0}}\n  marks: {{value: {tmp_path}}}")
        child = workers.marked(tmp_path, "0.1")
        assert workers.process is not None
        family = [child, *children_of(workers.process.pid)]
        assert len(family) == 4
        workers.process.kill()
        workers.process.wait()
        workers.process = None
        workers.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "end of the family")
        assert only(workers, experiment).state is TrialState.RUNNING


def test_plain_celery_starts_a_worker(server: ValkeyServer, workers: Cluster) -> None:
    command = [sys.executable, "-m", "celery", "-A", "optml_queue.worker", "worker", "-n", "plain@%h"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    worker = subprocess.Popen(
        command,
        env=environment | {"OPTML_BROKER_URL": server.url, **TIMES},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        workers.until(lambda: any(name.startswith("plain@") for name in workers.mains()), "plain worker")
    finally:
        worker.terminate()
        assert worker.wait(15) == 0


def test_celery_without_a_broker_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "optml_queue.worker", "worker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "OPTML_BROKER_URL is not set" in done.stdout + done.stderr
