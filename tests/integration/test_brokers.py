"""What every broker must do for us, over Valkey, Redis and SQS: one contract, three implementations."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import boto3
import pytest
from celery import Celery
from kombu.connection import Connection

from optml_queue.archive import open_archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.broker import SqsVisibility, check_broker, queue_name
from optml_queue.errors import UnreachableError
from optml_queue.publish import Publisher
from optml_queue.runner import run_serial
from optml_queue.settings import Settings, read_settings
from optml_queue.spec import parse_spec
from optml_queue.store import Publication
from optml_queue.trial import Params, TrialState
from optml_queue.worker.application import Application
from optml_queue.worker.message import TrialCall, read_message
from tests.cluster import cluster
from tests.moto_server import aws_settings, moto_server
from tests.valkey_server import free_port, redis_binary, valkey_binary, valkey_server

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Installation:
    """A broker that runs, and the environment that a client of it needs."""

    environment: Mapping[str, str]
    visibility_s: float = 1.0

    @property
    def settings(self) -> Settings:
        return read_settings(self.environment, visibility_s=self.visibility_s, lease_s=0.9, beat_s=0.3)

    @property
    def app(self) -> Application:
        app = Application(self.settings)
        if self.settings.broker.is_sqs:
            # Kombu's synchronous consumer, which these tests are, sits through every long poll.
            app.conf.broker_transport_options["wait_time_seconds"] = 1
        return app


@pytest.fixture(scope="module", params=["valkey", "redis", "sqs"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    binary = redis_binary() if request.param == "redis" else valkey_binary()
    with valkey_server(binary) as server:
        if request.param != "sqs":
            yield Installation({"OPTML_BROKER_URL": server.url})
            return
        with moto_server() as endpoint, pytest.MonkeyPatch.context() as patch:
            # The broker's URL names its endpoint; the archive's, as S3's always, is one of the usual AWS settings.
            aws = {**aws_settings(endpoint), "AWS_ENDPOINT_URL_S3": endpoint}
            del aws["AWS_ENDPOINT_URL"]
            for name, value in aws.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket="optml")
            address = endpoint.removeprefix("http://")
            yield Installation(
                {
                    "OPTML_BROKER_URL": f"sqs://testing:testing-secret@{address}//",
                    "OPTML_STORE_URL": server.url,
                    "OPTML_ARCHIVE_URL": "s3://optml/experiments",
                    "OPTML_SQS_REGION": "us-east-1",
                    "OPTML_SQS_QUEUE_PREFIX": "test-",
                    **aws,
                },
                visibility_s=2.0,  # twice the long poll, through which nothing is extended here
            )


def publication(number: int, resource_class: str, rate: float = 0.1) -> Publication:
    params: Params = {"learning_rate": rate, "layers": [1, 2], "name": "größer", "on": True}
    return Publication("e-abcde", number, params, 7, resource_class, timeout_s=12.5)


class Consumer:
    """Takes messages as a worker does, through Celery's own connection settings."""

    def __init__(self, app: Celery, resource_class: str) -> None:
        self.connection: Connection = app.connection_for_read()
        channel = self.connection.channel()
        channel.basic_qos(0, 1000, False)
        self.messages: list[Any] = []
        queue = app.amqp.queues.select_add(queue_name(resource_class))
        self.consumer = self.connection.Consumer(
            queue, channel=channel, on_message=self.messages.append, accept=["json"]
        )
        self.consumer.consume()

    def take(self, count: int, limit_s: float = 20.0) -> list[Any]:
        """Wait for `count` more messages."""
        start, deadline = len(self.messages), time.monotonic() + limit_s
        while len(self.messages) < start + count and time.monotonic() < deadline:
            try:
                self.connection.drain_events(timeout=0.5)
            except (TimeoutError, Empty):
                continue
        return self.messages[start:]

    def close(self) -> None:
        self.connection.release()


def call_of(message: Any) -> TrialCall | None:
    args, kwargs, _ = message.payload
    return read_message(args, kwargs)


def test_every_message_arrives_unchanged(installation: Installation) -> None:
    app = installation.app
    consumer = Consumer(app, "arrive")
    sent = [publication(number, "arrive", rate=number / 7) for number in range(23)]
    publisher = Publisher(app)
    publisher.publish(sent)
    messages = consumer.take(len(sent))
    for message in messages:
        message.ack()
    assert sorted((call_of(m) for m in messages), key=lambda call: call.number if call else -1) == [
        TrialCall(p.experiment, p.number, p.params, p.generation) for p in sent
    ]
    headers = messages[0].headers
    assert headers["task"] == "optml.trial"
    assert headers["id"].startswith("e-abcde.")
    assert headers["timelimit"] == [12.5, None]
    consumer.close()
    publisher.close()


def test_a_batch_larger_than_any_broker_takes_at_once_arrives_whole(installation: Installation) -> None:
    app = installation.app
    consumer = Consumer(app, "batch")
    publisher = Publisher(app)
    large: Params = {"text": "x" * 30_000}
    publisher.publish([Publication("e-abcde", number, large, 1, "batch") for number in range(25)])
    messages = consumer.take(25)
    for message in messages:
        message.ack()
    assert sorted(call.number for message in messages if (call := call_of(message))) == list(range(25))
    consumer.close()
    publisher.close()


def test_sqs_delivers_again_only_what_was_neither_acknowledged_nor_extended(installation: Installation) -> None:
    if not installation.settings.broker.is_sqs:
        return  # see the next test
    app = installation.app
    publisher = Publisher(app)
    consumer = Consumer(app, "again")
    count, left_alone, extended, extended_when_acknowledged = 23, 0, 1, 2
    publisher.publish([publication(number, "again") for number in range(count)])
    first = {call.number: message for message in consumer.take(count) if (call := call_of(message))}
    assert sorted(first) == list(range(count))
    for number in range(extended_when_acknowledged, count):
        first[number].ack()
    visibility = SqsVisibility(installation.settings.broker)
    visibility.extend([first[extended_when_acknowledged]])
    deadline = time.monotonic() + 20

    def came_again() -> set[int]:
        return {call.number for message in consumer.messages[count:] if (call := call_of(message))}

    while not came_again() and time.monotonic() < deadline:
        visibility.extend([first[extended]])
        consumer.take(1, limit_s=0.3)
    # All would be due by now. One look more, for what came behind the first.
    visibility.extend([first[extended]])
    consumer.take(1, limit_s=0.5)
    assert came_again() == {left_alone}
    consumer.close()
    publisher.close()


def test_redis_keeps_nothing_of_a_message_that_was_delivered() -> None:
    with valkey_server() as server, server.client() as client:
        app = Application(read_settings({"OPTML_BROKER_URL": server.url}))
        publisher = Publisher(app)
        consumer = Consumer(app, "once")
        publisher.publish([publication(number, "once") for number in range(3)])
        acknowledged, refused, _in_hand = consumer.take(3)
        assert not [key for key in client.scan_iter() if not key.startswith("_kombu.binding")]
        acknowledged.ack()
        refused.reject(requeue=True)
        # The store publishes again what is lost with its worker: nothing is put back, and nothing dumped to a file.
        consumer.close()
        assert client.llen("optml-once") == 1
        publisher.close()


def test_what_was_recalled_is_taken_off_the_queue_where_the_broker_can(installation: Installation) -> None:
    app = installation.app
    publisher, consumer = Publisher(app), Consumer(app, "recall")
    stale = [Publication("huge.1", number, {"value": number}, number + 1, "recall") for number in range(8)]
    kept = [Publication("else-abcde", 0, {}, 9, "recall"), Publication("huge.1", 0, {}, 11, "recall")]
    newcomer = Publication("small-abcde", 0, {}, 10, "recall", overtakes=frozenset(["huge.1"]))
    publisher.publish([*stale, *kept])
    publisher.publish([newcomer])
    is_sqs = installation.settings.broker.is_sqs
    expected = [*(stale if is_sqs else ()), *kept, newcomer]
    found = [call_of(message) for message in consumer.take(len(expected))]
    for message in consumer.messages:
        message.ack()
    assert sorted((c.experiment, c.number, c.generation) for c in found if c) == sorted(
        (p.experiment, p.number, p.generation) for p in expected
    )
    consumer.close()
    publisher.close()


def test_a_running_broker_passes_the_check(installation: Installation) -> None:
    check_broker(installation.settings.broker)


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:{port}/0", "sqs://key:secret@127.0.0.1:{port}//"])
def test_a_broker_that_does_not_answer_is_said_without_its_password(url: str) -> None:
    address = url.format(port=free_port())
    environment = {"OPTML_BROKER_URL": address, "OPTML_STORE_URL": "redis://127.0.0.1:1/0"}
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="not reachable") as checked:
        check_broker(read_settings(environment).broker)
    publisher = Publisher(Application(read_settings(environment)))
    with pytest.raises(UnreachableError, match="not reachable") as published:
        publisher.publish([publication(1, "default")])
    assert time.monotonic() - began < 10
    for caught in (checked, published):
        assert "127.0.0.1" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_real_workers_find_what_a_serial_run_finds_though_one_dies(installation: Installation, tmp_path: Path) -> None:
    rates = ", ".join(str(rate) for rate in (0.5, 1e-4, 5e-6, 1e-6, 1e-7, 3e-8))
    text = (
        "name: lms\nalgorithm: lms\nmethod: grid\n"
        f"parameters: {{learning_rate: {{values: [{rates}]}}, filter_size: {{values: [3, 5]}}}}\n"
        "data: {name: sunspots}\nseeds: [0, 1]\n"
    )
    spec = parse_spec(text, "lms.yaml", tmp_path)
    times = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.2"}
    with cluster({**installation.environment, **times}, tmp_path) as workers:
        # Its second attempt outlasts lease and visibility: only the heartbeat keeps it from being a third.
        deadly = workers.submit("  dies_of: {value: 9}\n  sleep_s: {value: 2.0}")
        grid = workers.submit_spec(spec)
        workers.end(grid)
        workers.end(deadly)
        queued = {trial.number: trial for trial in workers.trials(grid)}
        workers.until(lambda: workers.store.experiment(grid).is_consolidated, "archive")
        archived = list(ArchiveSource(open_archive(workers.archive_url)).stream(grid))
        (survivor,) = workers.trials(deadly)
        assert (survivor.state, survivor.attempts) == (TrialState.COMPLETE, 2)
        assert [attempt.reason for attempt in workers.store.attempts(deadly, 0)] == ["lost"]
    serial = dict(run_serial(spec))
    assert len(serial) == 24
    assert {number: trial.state for number, trial in queued.items()} == {n: r.state for n, r in serial.items()}
    for number, result in serial.items():
        # repr: to the last bit, and nan equals nan
        assert repr(queued[number].metrics) == repr(dict(result.metrics))
    assert {trial.state for trial in queued.values()} == {TrialState.COMPLETE, TrialState.DIVERGED}
    assert list(map(repr, archived)) == list(map(repr, queued.values()))
