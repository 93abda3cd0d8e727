"""Workers that freeze, die or lose their messages: what an experiment finds is what an undisturbed one finds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import redis

from optml_queue.store import ExperimentState
from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.faults.times import TIMES
from tests.faults.verdict import QUEUE, assert_queue_empties, assert_undisturbed, serial_results
from tests.faulty_proxy import faulty_proxy
from tests.moto_server import aws_settings, moto_server
from tests.processes import children_of
from tests.sqs_installation import SqsQueue, sqs_installation
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.faults

# On a busy machine, too, who is not frozen keeps its lease, and who wakes has the time to obey.
CALM = {**TIMES, "OPTML_LEASE_S": "2", "OPTML_VISIBILITY_S": "2.5", "OBEY_LIMIT_S": "8"}


@pytest.fixture(scope="module")
def workers(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster({"OPTML_BROKER_URL": server.url, **CALM}, tmp_path_factory.mktemp("workers"), 3) as running:
        yield running


@pytest.fixture
def other_url(server: ValkeyServer) -> str:
    """A database of the same server that the workers above know nothing of."""
    with redis.Redis.from_url(url := f"{server.url[:-1]}1") as client:
        client.flushdb()
    return url


@pytest.fixture
def broker(server: ValkeyServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


def grid(size: int, more: str = "") -> str:
    """Parameters of a grid of `size` trials that differ in what they find."""
    return f"  value: {{values: [{', '.join(f'{number}.5' for number in range(size))}]}}\n{more}"


class Frozen:
    """A worker, main process and child, that stands still in the midst of a trial."""

    def __init__(self, workers: Cluster, experiment: str, number: int) -> None:
        (trial,) = workers.store.trials(experiment, [number])
        self.main = workers.mains()[trial.worker]
        (self.child,) = children_of(self.main)
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in (self.main, self.child):
            os.kill(pid, number)

    def has_its_child(self) -> bool:
        return children_of(self.main) == [self.child]


def test_zombies_that_wake_and_finish_change_nothing(workers: Cluster, broker: redis.Redis, tmp_path: Path) -> None:
    serial = serial_results(workers.spec(grid(2)))
    sleep = "  sleep_s: {value: 1.2}"
    experiment = workers.submit(grid(2, f"{sleep}\n  marks: {{value: {tmp_path}}}"))
    for number in range(2):
        workers.marked(tmp_path, f"{number}.1")
    early, late = Frozen(workers, experiment, 0), Frozen(workers, experiment, 1)
    # Both trials run again on the third worker. One zombie wakes while its trial is another's, one when it is over.
    workers.marked(tmp_path, "0.2")
    early.thaw()
    workers.until(lambda: workers.store.trials(experiment, [0])[0].state is TrialState.COMPLETE, "end of the first")
    workers.end(experiment)
    ended = workers.trials(experiment)
    late.thaw()
    found = assert_undisturbed(workers, experiment, serial)
    assert_queue_empties(workers, broker)
    assert [trial.attempts for trial in ended] == [2, 2]
    assert workers.trials(experiment) == ended
    assert [[a.reason for a in workers.store.attempts(experiment, n)] for n in range(2)] == [["lost"], ["lost"]]
    assert (found.state, found.finished) == (ExperimentState.COMPLETE, 2)
    # Each said its piece and was answered; nobody had to kill it: the same processes take trials again.
    with workers.kept_busy():
        assert early.has_its_child()
        assert late.has_its_child()
    workers.until(lambda: {early.main, late.main} <= set(workers.mains().values()), "beats of both")


def test_a_hundred_messages_that_vanish_are_published_again(workers: Cluster, broker: redis.Redis) -> None:
    serial = serial_results(workers.spec(grid(100)))
    with workers.kept_busy():
        experiment = workers.submit(grid(100))
        workers.until(lambda: broker.llen(QUEUE) == 100, "messages")
        broker.delete(QUEUE)
    found = assert_undisturbed(workers, experiment, serial)
    assert 100 <= found.recovered <= 110
    assert {trial.attempts for trial in workers.trials(experiment)} == {1}
    assert_queue_empties(workers, broker)


def test_messages_that_all_come_twice_run_once(workers: Cluster, broker: redis.Redis) -> None:
    serial = serial_results(workers.spec(grid(100)))
    with workers.kept_busy():
        experiment = workers.submit(grid(100))
        workers.until(lambda: broker.llen(QUEUE) == 100, "messages")
        messages = broker.lrange(QUEUE, 0, -1)
        # The copy of each goes right behind it, so that two workers have both in hand at the same time.
        with broker.pipeline() as pipe:
            pipe.delete(QUEUE)
            pipe.rpush(QUEUE, *(copy for message in messages for copy in (message, message)))
            pipe.execute()
        assert broker.llen(QUEUE) == 200
    assert_undisturbed(workers, experiment, serial)
    assert {trial.attempts for trial in workers.trials(experiment)} == {1}
    assert_queue_empties(workers, broker)


@pytest.fixture(scope="module")
def sqs_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with sqs_installation(**TIMES) as environment, cluster(environment, tmp_path_factory.mktemp("sqs")) as running:
        yield running


@pytest.mark.parametrize("fault", ["deleted", "twice"])
def test_messages_on_sqs_that_vanish_or_come_twice_change_nothing(sqs_workers: Cluster, fault: str) -> None:
    workers, queue = sqs_workers, SqsQueue(sqs_workers.environment)
    serial = serial_results(workers.spec(grid(50)))
    with workers.kept_busy():
        experiment = workers.submit(grid(50))
        workers.until(lambda: queue.waiting() == 50, "messages")
        if fault == "deleted":
            queue.purge()
        else:
            queue.put(*queue.bodies(50))
    found = assert_undisturbed(workers, experiment, serial)
    assert {trial.attempts for trial in workers.trials(experiment)} == {1}
    if fault == "deleted":
        assert 50 <= found.recovered <= 55
    workers.until(lambda: queue.waiting() + queue.in_hand() == 0, "empty queue")


def test_a_killed_supervisor_and_then_all_its_processes_lose_nothing(other_url: str, tmp_path: Path) -> None:
    with cluster({"OPTML_BROKER_URL": other_url, **TIMES}, tmp_path) as workers:
        serial = serial_results(workers.spec(grid(100)))
        experiment = workers.submit(grid(100, "  sleep_s: {value: 0.05}"))
        for share, everything in ((15, False), (40, True)):
            workers.until(lambda share=share: workers.store.experiment(experiment).finished >= share, "progress")  # type: ignore[misc]
            workers.kill(everything=everything)
            assert not workers.store.experiment(experiment).is_over
            workers.start()
        assert_undisturbed(workers, experiment, serial)
        assert_queue_empties(workers, workers.store.client)
        assert workers.stop() == 0


def test_an_archive_that_fails_delays_nothing_but_itself(
    other_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto_server() as endpoint, faulty_proxy(endpoint) as proxy:
        for name, value in aws_settings(proxy.url).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="optml")
        environment = {"OPTML_BROKER_URL": other_url, "OPTML_ARCHIVE_URL": "s3://optml/runs", **TIMES}
        with cluster(environment, tmp_path) as workers:
            serial = serial_results(workers.spec(grid(60)))
            experiment = workers.submit(grid(60, "  sleep_s: {value: 0.05}"))
            proxy.status = 403
            workers.until(lambda: "access denied" in workers.log.read_text(), "refusal")
            found = workers.end(experiment)
            assert found.archived < found.finished == 60
            for status in (404, 500):
                proxy.status, proxy.refused = status, 0
                workers.until(lambda: proxy.refused >= 2, "failing archive")
            assert "there is no such bucket" in workers.log.read_text()
            proxy.status = None
            beside = workers.submit(grid(10, "  sleep_s: {value: 0.3}"))
            proxy.is_slow = True
            workers.until(lambda: proxy.held > 0, "archive that does not answer")
            found = workers.end(beside, limit_s=10)
            assert found.finished == 10
            proxy.is_slow = False
            assert_undisturbed(workers, experiment, serial)
            assert_undisturbed(workers, beside, serial_results(workers.spec(grid(10))))


def test_a_worker_outlives_its_child_and_then_its_server(tmp_path: Path) -> None:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path) as workers:
        serial = serial_results(workers.spec(grid(16)))
        mains = workers.mains()
        # The children die while their workers look for the broker, and are missed when it is back.
        server.kill()
        workers.until(lambda: workers.log.read_text().count("Trying again") >= len(mains), "lost connections")
        first = {main: children_of(main) for main in mains.values()}
        for (child,) in first.values():
            os.kill(child, signal.SIGKILL)
        server.start()
        for main, dead in first.items():
            workers.until(lambda main=main, dead=dead: children_of(main) not in ([], dead), "new child")  # type: ignore[misc]
        family = {main: children_of(main) for main in mains.values()}
        experiment = workers.submit(grid(16, "  sleep_s: {value: 0.2}"))
        workers.until(lambda: workers.store.experiment(experiment).finished > 3, "progress")
        # Long enough for trials to end, and be answered by the store, before their workers have the broker again.
        server.kill()
        time.sleep(3.2)
        server.start()
        assert_undisturbed(workers, experiment, serial)
        assert workers.mains() == mains
        assert {main: children_of(main) for main in mains.values()} == family
