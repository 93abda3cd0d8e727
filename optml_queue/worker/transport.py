"""Kombu's Redis transport, quicker and harder to kill.

- One redis client a channel: kombu makes a new one for every command.
- A channel that is closed twice while the server is away raises a connection error, which Celery answers by
  connecting again, instead of an AttributeError, which ends the worker.
- A message that is no trial's is refused and said, instead of ending the worker (see `admission`).
- Messages that were recalled can be taken off a queue.
- A server that stays silent is missed within seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as kombu_redis

from optml_queue.broker import QUEUE_PREFIX
from optml_queue.worker.admission import RefusedError, admit

logger = logging.getLogger(__name__)


# KEYS: a queue. ARGV: a generation, then experiments. Takes messages of theirs, of a lesser generation, off the queue.
# One script: nobody else's message can come in between. A message that cannot be read is left to whoever takes it.
WITHDRAW = """
local below, theirs, kept, withdrawn = tonumber(ARGV[1]), {}, {}, 0
for i = 2, #ARGV do
  theirs[ARGV[i]] = true
end
local messages = redis.call('LRANGE', KEYS[1], 0, -1)
for _, message in ipairs(messages) do
  local is_read, read = pcall(cjson.decode, message)
  local id = is_read and type(read) == 'table' and type(read.headers) == 'table' and read.headers.id
  local experiment, generation = string.match(type(id) == 'string' and id or '', '^(.*)%.%d+%.(%d+)$')
  if experiment and theirs[experiment] and tonumber(generation) < below then
    withdrawn = withdrawn + 1
  else
    kept[#kept + 1] = message
  end
end
if withdrawn > 0 then
  redis.call('DEL', KEYS[1])
  for _, message in ipairs(kept) do
    redis.call('RPUSH', KEYS[1], message)
  end
end
return withdrawn
"""


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

    def withdraw(self, queue: str, experiments: Iterable[str], *, below: int) -> int:
        """Take messages of some experiments, of a generation below one, off a queue. How many were.

        They are stale: a worker would decline them, at a millisecond each, before it came to what was published since.
        """
        with self.conn_or_acquire() as client:
            return int(client.eval(WITHDRAW, 1, queue, str(below), *sorted(experiments)))

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
            logger.warning("refused a message that is no JSON: %s", type(error).__name__)
            raise Empty from None


class Poller(kombu_redis.MultiChannelPoller):
    """A poller that looks every few seconds whether the server answers."""

    def maybe_restore_messages(self) -> None:
        """Ask the server something, where kombu would look after messages that nobody acknowledged.

        A worker that waits for a message sends nothing, and would never learn that its connection leads nowhere. A
        connection error has Celery connect again.
        """
        for channel in self._channels:
            if channel.active_queues:
                with channel.conn_or_acquire() as client:
                    client.ping()
                return


class Transport(kombu_redis.Transport):
    """The transport that `broker_transport` names; it serves redis:// and rediss:// URLs."""

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()  # type: ignore[assignment]  # declared as what kombu's simpler transports have

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
