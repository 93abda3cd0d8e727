"""What Celery is told of each broker."""

from typing import Any

import pytest
from kombu.utils.json import dumps

from optml_queue.broker import Broker, celery_config, queue_name
from optml_queue.errors import SettingsError
from optml_queue.worker.transport import is_message

REDIS = Broker("redis://:secret@host:6379/0")
SQS = Broker("sqs://key:secret@127.0.0.1:9324//", visibility_s=7.5, region="eu-west-1", queue_prefix="team-")


@pytest.mark.parametrize("broker", [REDIS, SQS])
def test_messages_are_json_taken_one_at_a_time_and_acknowledged_late(broker: Broker) -> None:
    config = celery_config(broker, "gpu")
    assert config["accept_content"] == ["json"]
    assert config["task_serializer"] == "json"
    assert config["worker_prefetch_multiplier"] == 1
    assert config["task_acks_late"]
    assert config["task_reject_on_worker_lost"]
    assert not config["worker_enable_remote_control"]
    assert config["task_default_queue"] == "optml-gpu"
    assert not config["worker_cancel_long_running_tasks_on_connection_loss"]


def test_redis_keeps_no_copies_of_messages() -> None:
    assert celery_config(REDIS)["broker_transport_options"]["ack_emulation"] is False


def test_sqs_gets_whole_seconds_and_its_region() -> None:
    config = celery_config(SQS)
    options = config["broker_transport_options"]
    assert options["visibility_timeout"] == 7
    assert (options["region"], options["queue_name_prefix"], options["is_secure"]) == ("eu-west-1", "team-", False)


@pytest.mark.parametrize(
    ("url", "tls", "secure"),
    [
        ("sqs://", None, True),
        ("sqs://sqs.example.org", None, True),
        ("sqs://localstack:4566", False, False),
        ("sqs://localhost:4566", None, False),
        ("sqs://localhost:4566", True, True),
    ],
)
def test_sqs_is_spoken_to_through_tls_except_on_loopback(url: str, tls: bool | None, secure: bool) -> None:
    assert Broker(url, tls=tls).uses_tls is secure


@pytest.mark.parametrize("name", ["", "Gpu", "a b", "-a", "a" * 41, "a.b", "ü", "gpu-dead"])
def test_a_resource_class_must_be_a_queues_name_everywhere(name: str) -> None:
    with pytest.raises(SettingsError, match="resource class"):
        queue_name(name)


GOOD = {
    "body": "W10=",
    "headers": {},
    "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}},
}


def test_a_celery_message_is_one() -> None:
    assert is_message(GOOD)


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "text",
        {},
        GOOD | {"body": None},
        GOOD | {"headers": None},
        GOOD | {"properties": []},
        GOOD | {"properties": {"delivery_tag": 1, "delivery_info": {}}},
        GOOD | {"properties": {"delivery_tag": "t"}},
        GOOD | {"properties": {"delivery_tag": "t", "delivery_info": {"exchange": ""}}},
    ],
    ids=dumps,
)
def test_anything_else_is_not(message: Any) -> None:
    assert not is_message(message)
