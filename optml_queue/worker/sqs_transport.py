"""Kombu's SQS transport with batches: ten messages a request, where kombu sends one.

A window of a thousand trials then costs a hundred round trips, not a thousand, while the control process waits.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from kombu.asynchronous.aws.sqs.message import AsyncMessage
from kombu.exceptions import BatchPublishError
from kombu.transport import SQS
from kombu.utils.json import dumps

BATCH_LENGTH = 10
BATCH_BYTES = 240_000  # SQS counts attributes and ids too; its limit was 262,144 for years


class Batch:
    """Messages on their way, by the URL of their queue. The interface is kombu's (see `Producer.batch`)."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._entries: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self._sizes: defaultdict[str, int] = defaultdict(int)

    def publish(self, message: dict[str, Any], **kwargs: Any) -> Any:
        """Route one message; it comes back through `add`."""
        return self.channel.basic_publish(message, _publish_batch=self, **kwargs)

    def add(self, queue_url: str, entry: dict[str, str]) -> None:
        """Buffer one message; send the buffer when it is full."""
        size = len(entry["MessageBody"]) + 1_000
        if self._sizes[queue_url] + size > BATCH_BYTES:
            self._send(queue_url)
        self._entries[queue_url].append(entry)
        self._sizes[queue_url] += size
        if len(self._entries[queue_url]) == BATCH_LENGTH:
            self._send(queue_url)

    def flush(self) -> None:
        """Send what is buffered. Raises BatchPublishError when SQS refuses some of it."""
        for queue_url in list(self._entries):
            self._send(queue_url)

    def discard(self) -> None:
        """Forget what was not sent."""
        self._entries.clear()
        self._sizes.clear()

    close = discard

    def _send(self, queue_url: str) -> None:
        entries, self._sizes[queue_url] = self._entries.pop(queue_url, []), 0
        if not entries:
            return
        numbered = [{"Id": str(index), **entry} for index, entry in enumerate(entries)]
        reply = self.channel.sqs().send_message_batch(QueueUrl=queue_url, Entries=numbered)
        if refused := reply.get("Failed"):
            raise BatchPublishError(f"SQS refused {len(refused)} of {len(entries)} messages: {refused[0].get('Code')}")


class Channel(SQS.Channel):
    """A channel that can publish in batches."""

    def create_publish_batch(self, max_size: int) -> Batch:  # noqa: ARG002 — SQS has its own limits
        """What kombu's producers ask for."""
        return Batch(self)

    def _put(self, queue: str, message: dict[str, Any], _publish_batch: Batch | None = None, **kwargs: Any) -> None:
        if _publish_batch is None:
            super()._put(queue, message, **kwargs)
            return
        text = dumps(message)
        entry = {"MessageBody": AsyncMessage().encode(text) if self.sqs_base64_encoding else text}
        if group := message["properties"].get("MessageGroupId"):
            entry["MessageGroupId"] = group
        _publish_batch.add(self._new_queue(queue), entry)


class Transport(SQS.Transport):
    """The transport that `broker_transport` names for sqs:// URLs."""

    Channel = Channel
    implements = SQS.Transport.implements.extend(batch_publish=True)
