"""Kombu's Redis transport, quicker and harder to kill.

- One redis client a channel: kombu makes a new one for every append and acknowledgement, a fifth of a worker's time.
- A channel that is closed twice while the server is away raises a connection error, which Celery answers by
  connecting again, instead of an AttributeError, which ends the worker.
- A message that is no trial's is refused and said, instead of ending the worker (see `admission`).
- What cannot be read among the unacknowledged messages is removed, instead of keeping all others there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as kombu_redis

from optml_queue.broker import QUEUE_PREFIX
from optml_queue.worker.admission import RefusedError, admit

logger = logging.getLogger(__name__)


class QoS(kombu_redis.QoS):
    """Kombu's book of unacknowledged messages, which anyone who can write to the broker can write into."""

    def restore_by_tag(self, tag: Any, client: redis.Redis | None = None, leftmost: bool = False) -> None:
        """Put a message back on its queue."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except redis.RedisError:
            raise
        except Exception as error:  # noqa: BLE001 — said
            # Left there, it would fail every time and keep those behind it from being restored.
            logger.warning("removed an unacknowledged message that cannot be read: %s", type(error).__name__)
            with self.channel.conn_or_acquire(client) as connected, connected.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()


class Channel(kombu_redis.Channel):
    """A channel that keeps its client for commands."""

    QoS = QoS
    _commands: redis.Redis | None = None

    @contextmanager
    def conn_or_acquire(self, client: redis.Redis | None = None) -> Iterator[redis.Redis]:
        """The client given, else the channel's own."""
        if client is None:
            client = self._commands = self._commands or self._create_client()
        yield client

    def _disconnect_pools(self) -> None:
        # Called on closing and after a fork: the client's pool is gone, and with it the client's use.
        self._commands = None
        super()._disconnect_pools()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the channel's connection was closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        return parameters

    def _do_restore_message(self, payload: Any, exchange: Any, routing_key: Any, *args: Any, **options: Any) -> None:
        try:
            admit(payload, routing_key)
        except RefusedError as refused:
            logger.warning("refused an unacknowledged message: it %s", refused)
            return
        super()._do_restore_message(payload, exchange, routing_key, *args, **options)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (Empty, *self.connection_errors):
            raise
        except Exception as error:  # noqa: BLE001 — logged
            # Already taken from the queue: to raise would end the worker and help nobody.
            logger.warning("refused a message that is no JSON: %s", type(error).__name__)
            raise Empty from None


class Transport(kombu_redis.Transport):
    """The transport that `broker_transport` names; it serves redis:// and rediss:// URLs."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if not queue.startswith(QUEUE_PREFIX):  # events, for Flower
            if is_message(message):
                super()._deliver(message, queue)
            return
        try:
            admitted = admit(message, queue)
        except RefusedError as refused:
            logger.warning("refused a message on %s: it %s", queue, refused)
            return
        super()._deliver(admitted, queue)


def is_message(message: Any) -> bool:
    """Whether kombu can make a message of what was in the queue."""
    if not isinstance(message, dict) or not isinstance(message.get("headers", {}), dict):
        return False
    properties = message.get("properties")
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
        and {"exchange", "routing_key"} <= properties["delivery_info"].keys()
        and isinstance(message.get("body"), str)
    )
