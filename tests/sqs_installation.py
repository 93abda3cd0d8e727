"""SQS (moto's) and a store (Valkey) for tests, and what a test wants to know of a queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from optml_queue.broker import queue_name, sqs_client
from optml_queue.settings import read_settings
from tests.moto_server import aws_settings, moto_server
from tests.valkey_server import valkey_server


@contextmanager
def sqs_installation(**variables: str) -> Iterator[dict[str, str]]:
    """The environment of workers of both; AWS's own variables are this process's too."""
    with valkey_server() as server, moto_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in aws_settings(endpoint).items():
            patch.setenv(name, value)
        yield {
            "OPTML_BROKER_URL": f"sqs://testing:testing-secret@{endpoint.removeprefix('http://')}//",
            "OPTML_STORE_URL": server.url,
            "OPTML_SQS_REGION": "us-east-1",
            **variables,
        }


class SqsQueue:
    """The queue of a resource class, or its dead letters', made when it is missing."""

    def __init__(self, environment: dict[str, str], suffix: str = "") -> None:
        broker = read_settings(environment).broker
        self.client: Any = sqs_client(broker, timeout_s=15)
        name = f"{broker.queue_prefix}{queue_name('default')}{suffix}"
        attributes = {"VisibilityTimeout": str(int(broker.visibility_s))}
        try:
            made = self.client.create_queue(QueueName=name, Attributes=attributes)
        except self.client.exceptions.QueueNameExists:  # workers made it in this very moment, with other attributes
            made = self.client.get_queue_url(QueueName=name)
        self.url: str = made["QueueUrl"]

    def put(self, *bodies: str) -> None:
        """Send messages, ten a request."""
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies[start : start + 10])]
            self.client.send_message_batch(QueueUrl=self.url, Entries=entries)

    def waiting(self) -> int:
        """Messages that nobody has in hand."""
        return self._count("ApproximateNumberOfMessages")

    def in_hand(self) -> int:
        """Messages that somebody received and has not acknowledged."""
        return self._count("ApproximateNumberOfMessagesNotVisible")

    def purge(self) -> None:
        """Remove those that wait."""
        self.client.purge_queue(QueueUrl=self.url)

    def bodies(self, count: int) -> list[str]:
        """What `count` messages hold that wait; they stay."""
        found: dict[str, str] = {}
        while len(found) < count:
            reply = self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=2)
            found |= {message["MessageId"]: message["Body"] for message in reply.get("Messages", [])}
        return list(found.values())

    def _count(self, name: str) -> int:
        reply = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(reply["Attributes"][name])
