"""SQS's dead-letter queues: wired, read, and no trial lost with what goes there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from optml_queue.broker import Broker, sqs_client
from optml_queue.settings import read_settings
from optml_queue.store import ExperimentState, Store
from optml_queue.worker import dead_letters
from optml_queue.worker.dead_letters import RECEIPTS_MAX, DeadLetters, trial_of
from tests.cluster import Cluster, cluster
from tests.sqs_installation import SqsQueue, sqs_installation

pytestmark = pytest.mark.integration

PREFIX = "team-"
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "2", "OPTML_GRACE_S": "2"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with sqs_installation(OPTML_SQS_QUEUE_PREFIX=PREFIX, **TIMES) as found:
        yield found


@pytest.fixture
def queue(environment: dict[str, str]) -> SqsQueue:
    return SqsQueue(environment)


@pytest.fixture
def dead(environment: dict[str, str]) -> SqsQueue:
    return SqsQueue(environment, "-dead")


@pytest.fixture
def broker(environment: dict[str, str]) -> Broker:
    return read_settings(environment).broker


@pytest.fixture
def sqs(broker: Broker) -> Any:
    return sqs_client(broker, timeout_s=5)


@pytest.fixture(scope="module")
def workers(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(environment, tmp_path_factory.mktemp("workers")) as running:
        yield running


def bury(queue: SqsQueue, count: int) -> None:
    """Receive messages, ten at a time, until SQS gives them up, as workers do that die of them."""
    # Not until none is left: the trials are soon published again.
    for _ in range(RECEIPTS_MAX * count // 10 + 1):
        queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, VisibilityTimeout=0)


def test_trials_whose_messages_died_are_published_again(workers: Cluster, queue: SqsQueue, dead: SqsQueue) -> None:
    workers.until(lambda: "go to team-optml-default-dead" in workers.log.read_text(), "wired queue")
    policy = json.loads(
        queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["RedrivePolicy"])["Attributes"][
            "RedrivePolicy"
        ]
    )
    assert policy["deadLetterTargetArn"].endswith(":team-optml-default-dead")
    assert int(policy["maxReceiveCount"]) == RECEIPTS_MAX
    with workers.kept_busy():
        experiment = workers.submit("  value: {min: 1, max: 30, step: 1}")
        workers.until(lambda: queue.waiting() == 30, "messages")
        bury(queue, 30)
        workers.until(lambda: workers.store.experiment(experiment).recovered == 30, "trials published again")
        workers.until(lambda: queue.waiting() == 30, "new messages")
    found = workers.end(experiment)
    assert (found.state, found.terminal, found.recovered) == (ExperimentState.COMPLETE, 30, 30)
    assert {trial.attempts for trial in workers.trials(experiment)} == {1}
    workers.until(lambda: dead.waiting() == 0, "empty dead-letter queue")
    workers.until(lambda: "trials are published again" in workers.log.read_text(), "line that tells")


def test_a_long_trial_is_received_once_and_a_deadly_one_ends_by_the_stores_count(workers: Cluster) -> None:
    long = workers.submit("  sleep_s: {value: 4.5}")  # twice the visibility
    deadly = workers.submit("  dies_of: {value: 9}\n  deaths: {value: 99}", "retry: {max_attempts: 4, on: [lost]}")
    found = workers.end(deadly)
    assert (found.state, found.recovered) == (ExperimentState.FAILED, 0)
    assert [attempt.reason for attempt in workers.store.attempts(deadly, 0)] == ["lost"] * 4
    assert workers.end(long).recovered == 0
    assert [trial.attempts for trial in workers.trials(long)] == [1]


def test_what_came_before_the_last_generation_and_strangers_messages_change_nothing(
    workers: Cluster, dead: SqsQueue
) -> None:
    experiment = workers.submit("  value: {value: 1}")
    workers.end(experiment)
    headers = {"task": "optml.trial", "id": f"{experiment}.0.1"}
    for body in (json.dumps({"headers": headers}), "x\x7f[2J", json.dumps({"headers": [1]}), "[" * 5_000):
        dead.put(base64.b64encode(body.encode()).decode())
    dead.put("hello")
    workers.until(lambda: dead.waiting() == 0, "empty dead-letter queue")
    workers.until(lambda: "4 strangers' removed" in workers.log.read_text(), "line that tells")
    assert workers.store.experiment(experiment).recovered == 0


def test_a_queue_that_has_a_policy_keeps_it(broker: Broker, sqs: Any) -> None:
    own = sqs.create_queue(QueueName="ours-alone")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=own, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 17})
    url = sqs.create_queue(QueueName=f"{PREFIX}optml-gpu", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    assert dead_letters.wire(sqs, broker, "gpu") == own
    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    assert json.loads(kept) == json.loads(policy)
    assert dead_letters.wire(sqs, broker, "no-such-class") is None


def test_missing_rights_are_said_once(
    environment: dict[str, str], broker: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "SetQueueAttributes")

    monkeypatch.setattr(dead_letters, "wire", refuse)
    store = Store.from_url(environment["OPTML_STORE_URL"])
    store.worker_beat("far", {"class": "far", "pid": 0}, ttl_s=10)
    reader = DeadLetters(store, broker)
    reader.look()
    reader.look()
    said = [record.message for record in caplog.records if "class far" in record.message]
    assert len(said) == 1
    assert "not authorized" in said[0]
    store.worker_gone("far", "far")
    store.close()


@pytest.mark.parametrize("body", ["", "%%%", base64.b64encode(b"{}").decode(), base64.b64encode(b"\xff").decode()])
def test_a_strangers_body_is_nobodys(body: str) -> None:
    assert trial_of(body) is None


@pytest.mark.parametrize("task_id", ["../../x.0.1", "e\n.0.1", "e..f.0.1", f"{'e' * 200}.0.1"])
def test_an_id_that_leads_elsewhere_is_nobodys(task_id: str) -> None:
    headers = {"headers": {"task": "optml.trial", "id": task_id}}
    assert trial_of(base64.b64encode(json.dumps(headers).encode()).decode()) is None
