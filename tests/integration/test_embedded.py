"""The embedded server as processes: who starts it, who keeps it, and that nothing of it is left over."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from optml_queue.archive import open_archive
from optml_queue.driver import load_driver
from optml_queue.embedded import down, is_running, join, status, up
from optml_queue.experiments import submit
from optml_queue.spec import Algorithm, parse_spec
from optml_queue.store import Store
from optml_queue.trial import TrialState
from tests.processes import members_of, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]

CLIENT = """
import sys
from pathlib import Path
from optml_queue.embedded import join
with join(Path(sys.argv[1]), workers=int(sys.argv[2])) as session:
    print(session.record.pid, session.url, flush=True)
    sys.stdin.read()
"""


class Client:
    """A process that joins a results folder and stays until its input ends."""

    def __init__(self, results_dir: Path, workers: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", CLIENT, str(results_dir), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def joined(self) -> tuple[int, str]:
        """The host's process id and the server's URL, once it has joined."""
        assert self.process.stdout is not None
        pid, url = self.process.stdout.readline().split()
        return int(pid), url

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


@contextmanager
def clients(results_dir: Path, count: int, workers: int = 0) -> Iterator[list[Client]]:
    started = [Client(results_dir, workers) for _ in range(count)]
    try:
        yield started
    finally:
        for client in started:
            if client.process.returncode is None:
                client.end(kill=True)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Path]:
    """A results folder whose host, if any, is ended after the test."""
    yield tmp_path / "results"
    down(tmp_path / "results")


def set_key(url: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("key", value)


def get_key(url: str) -> str:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return str(client.get("key"))


def test_the_first_client_starts_the_server_and_the_last_one_ends_it(results: Path) -> None:
    with join(results, workers=0) as first:
        session_id = os.getsid(first.record.pid)
        with join(results, workers=0) as second:
            assert second.record == first.record
        set_key(first.url, "kept")
        assert is_running(results)
        assert members_of(session_id)
    wait_until(lambda: not members_of(session_id))
    assert not is_running(results)
    with join(results, workers=0) as again:
        assert again.record.password != first.record.password
        assert get_key(again.url) == "kept"


def test_the_server_is_private(results: Path) -> None:
    with join(results, workers=0) as session:
        record = session.record
        for pid in members_of(os.getsid(record.pid)):
            assert record.password not in Path(f"/proc/{pid}/cmdline").read_text()
        store = results / ".store"
        assert stat.S_IMODE(store.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in store.iterdir() if p.is_file())
        with redis.Redis.from_url(session.url, decode_responses=True) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
            kept = client.config_get("*")
            assert kept["appendonly"] == "yes"
            assert kept["appendfsync"] == "everysec"
            assert kept["save"] == ""
            assert kept["maxmemory-policy"] == "noeviction"
            older_name = "hash-max-ziplist-value"  # before version 7
            assert kept.get("hash-max-listpack-value", kept.get(older_name)) == "128"
        with (
            redis.Redis(port=record.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()


def test_clients_that_come_at_the_same_instant_share_one_host(results: Path) -> None:
    with clients(results, 4) as started:
        joined = {client.joined() for client in started}
        assert len(joined) == 1
        ((pid, _url),) = joined
        for client in started[:3]:
            client.end()
        assert is_running(results)
        session_id = os.getsid(pid)
        started[3].end()
        wait_until(lambda: not members_of(session_id))


def test_a_killed_client_leaves_nothing(results: Path) -> None:
    with clients(results, 1, workers=1) as (client,):
        pid, _ = client.joined()
        session_id = os.getsid(pid)
        wait_until(lambda: len(members_of(session_id)) > 2)
        client.end(kill=True)
        wait_until(lambda: not members_of(session_id))


def test_a_killed_host_takes_server_and_workers_along_and_the_data_stay(results: Path) -> None:
    with clients(results, 1, workers=1) as (client,):
        pid, url = client.joined()
        session_id = os.getsid(pid)
        wait_until(lambda: len(members_of(session_id)) > 2)
        set_key(url, "kept")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not members_of(session_id))
        with join(results, workers=0) as session:
            assert get_key(session.url) == "kept"


def test_a_killed_server_comes_back_under_its_address_with_its_data(results: Path) -> None:
    with join(results, workers=0) as session:
        set_key(session.url, "kept")
        with redis.Redis.from_url(session.url) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not session.record.answers())
        wait_until(session.record.answers)
        assert get_key(session.url) == "kept"


def test_a_detached_server_stays_until_down(results: Path) -> None:
    record = up(results, workers=0)
    session_id = os.getsid(record.pid)
    with join(results, workers=0) as session:
        assert session.record == record
    time.sleep(1)  # a host that did not heed the wish would be gone after a third of this
    assert status(results) == record
    assert down(results)
    assert not members_of(session_id)
    assert not down(results)


def test_a_detached_server_without_work_ends_by_itself(results: Path) -> None:
    command = [sys.executable, "-P", "-m", "optml_queue.embedded", str(results), "--idle-limit-s", "0.5"]
    (results / ".store").mkdir(parents=True)
    with (results / ".store" / "clients.lock").open("w") as early:
        fcntl.flock(early, fcntl.LOCK_SH)  # before the host: it would leave at once
        subprocess.run(command, stdout=subprocess.PIPE, timeout=10, check=True, start_new_session=True)
        with join(results, workers=0, detach=True) as session:
            session_id = os.getsid(session.record.pid)
    wait_until(lambda: not members_of(session_id))


def test_workers_are_started_on_a_server_that_had_none(results: Path) -> None:
    with join(results, workers=0) as session:
        session_id = os.getsid(session.record.pid)
        assert len(members_of(session_id)) == 2
        with join(results, workers=1):
            wait_until(lambda: len(members_of(session_id)) > 2)


def test_an_experiment_of_another_resource_class_finds_workers(results: Path) -> None:
    text = "{name: other, algorithm: lms, resources: {class: gpu}, parameters: {learning_rate: {values: [1e-6, 1e-7]}}}"
    spec = parse_spec(text, "spec", results)
    with join(results, workers=1) as session:
        store = Store.from_url(session.url)
        experiment = submit(store, open_archive(session.archive_url), spec)
        wait_until(lambda: store.experiment(experiment).is_over)
        assert store.experiment(experiment).counts[TrialState.COMPLETE] == 2
        store.close()


LEAVING = """
import subprocess
from optml_queue.driver import Metric, Parameter

PARAMETERS = (Parameter("x", int),)
METRICS = (Metric("y"),)
DATA = ("sunspots",)

def train(trial):
    child = subprocess.Popen(["sleep", "600"])
    return {"y": float(child.pid)}
"""


def test_what_a_trial_left_behind_ends_with_the_host(tmp_path: Path, results: Path) -> None:
    folder = tmp_path / "leaving"
    folder.mkdir()
    (folder / "driver.py").write_text(LEAVING)
    (folder / "functions.py").write_text("")
    drivers = {"leaving": load_driver(folder)}
    spec = parse_spec("{name: x, algorithm: leaving, parameters: {x: {value: 1}}}", "spec", tmp_path, (), drivers)
    with join(results, workers=1) as session:
        store = Store.from_url(session.url)
        experiment = submit(store, open_archive(session.archive_url), replace(spec, code=Algorithm(str(folder))))
        wait_until(lambda: store.experiment(experiment).is_over)
        (trial,) = store.trials(experiment, [0])
        left_behind = int(trial.metrics["y"])
        session_id, trials_session_id = os.getsid(session.record.pid), os.getsid(left_behind)
        store.close()
    wait_until(lambda: not members_of(session_id))
    wait_until(lambda: not members_of(trials_session_id))


def test_down_ends_the_workers(results: Path) -> None:
    record = up(results, workers=1)
    session_id = os.getsid(record.pid)
    wait_until(lambda: len(members_of(session_id)) > 2)
    assert down(results)
    assert not members_of(session_id)
