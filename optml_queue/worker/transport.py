"""Kombu's Redis transport, quicker and harder to kill.

- One redis client a channel: kombu makes a new one for every command.
- A channel that is closed twice while the server is away raises a connection error, which Celery answers by
  connecting again, instead of an AttributeError, which ends the worker.
- A message that is not one is dropped and said, instead of ending the worker.
- A server that stays silent is missed by the first call that gets no answer. Kombu passes over that in its regular
  tasks, each of which then blocks the event loop in turn, for most of a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as kombu_redis

logger = logging.getLogger(__name__)


class Channel(kombu_redis.Channel):
    """A channel that keeps its client for commands."""

    # What a channel has in hand at its end is the store's to publish again. Kombu would put it back, and, should that
    # fail, write it to a file.
    do_restore = False
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

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (Empty, *self.connection_errors):
            raise
        except Exception as error:  # noqa: BLE001 — logged
            # Already taken from the queue: to raise would end the worker and help nobody.
            logger.warning("dropped a message that cannot be read: %s: %s", type(error).__name__, error)
            raise Empty from None


class Poller(kombu_redis.MultiChannelPoller):
    """A poller whose regular tasks also show that the server answers: a connection error has Celery connect again."""

    def maybe_restore_messages(self) -> None:
        """Deliver again what nobody acknowledged in time."""
        for channel in self._channels:
            if channel.active_queues:
                channel.qos.restore_visible(
                    num=channel.unacked_restore_limit, interval=channel.unacked_restore_throttle
                )
                return

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep the queues of Celery's remote control from expiring."""
        for channel in self._channels:
            try:
                channel.maybe_refresh_binding_expiry()
            except channel.ResponseError as error:  # a full server; messages can be taken from it nonetheless
                logger.warning("remote control may stop working: %s", error)


class Transport(kombu_redis.Transport):
    """The transport that `broker_transport` names; it serves redis:// and rediss:// URLs."""

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()  # type: ignore[assignment]  # declared as what kombu's simpler transports have

    def _deliver(self, message: Any, queue: str) -> None:
        if not is_message(message):
            logger.warning("dropped a message on %s that did not come through Celery", queue)
            return
        super()._deliver(message, queue)


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
