"""Kombu's SQS transport, quicker, content with fewer rights, and harder to kill.

- Batches: ten messages a request, where kombu sends one. A window of a thousand trials then costs a hundred round
  trips, not a thousand, while the control process waits.
- A queue is asked for by its name: kombu lists all queues of the account, which needs a right over all of them.
- A message that is no trial's is refused, removed and said (see `admission`). Kombu would let it come again and again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from kombu.asynchronous.aws.sqs.message import AsyncMessage
from kombu.exceptions import BatchPublishError
from kombu.transport import SQS
from kombu.utils.json import dumps

from optml_queue.broker import is_missing_queue
from optml_queue.worker.admission import RefusedError, admit

logger = logging.getLogger(__name__)

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
    """A channel that can publish in batches, and takes nothing but trials."""

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

    def _update_queue_cache(self, queue_name_prefix: str) -> None:
        # Called with the prefix of all names when the channel opens, and with a whole name when that is wanted.
        if queue_name_prefix == self.queue_name_prefix:
            return
        try:
            reply = self.sqs().get_queue_url(QueueName=queue_name_prefix)
        except ClientError as error:
            if not is_missing_queue(error):
                raise
        else:
            self._queue_cache[queue_name_prefix] = reply["QueueUrl"]

    def _on_messages_ready(self, queue_url: str, name: str, messages: Any) -> int:
        # A list, of nothing, is what kombu makes of an answer that says that the server is in trouble.
        found = messages.get("Messages", []) if isinstance(messages, dict) else []
        callback = self.connection._callbacks.get(name)
        if callback is None:
            return int(super()._on_messages_ready(queue_url, name, {"Messages": found}))
        taken = 0
        for message in found:
            payload = self._admitted(message, name, queue_url)
            if payload is not None:
                callback(payload)
                taken += 1
        return taken

    def _admitted(self, message: dict[str, Any], name: str, queue_url: str) -> dict[str, Any] | None:
        """What is handed on of a received message; None when it was refused, and is gone."""
        try:
            payload = admit(self._message_to_python(message, name, queue_url), name)
        except RefusedError as refused:
            logger.warning("refused a message on %s: it %s", name, refused)
        except Exception as error:  # noqa: BLE001 — said
            logger.warning("refused a message on %s that cannot be read: %s", name, type(error).__name__)
        else:
            payload["properties"]["delivery_info"] |= {"sqs_message": message, "sqs_queue": queue_url}
            return payload
        try:
            self.sqs().delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except (ClientError, BotoCoreError) as error:
            logger.warning("it stays there, and will come again: %s", error)
        return None


class Transport(SQS.Transport):
    """The transport that `broker_transport` names for sqs:// URLs."""

    Channel = Channel
    implements = SQS.Transport.implements.extend(batch_publish=True)
