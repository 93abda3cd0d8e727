"""Putting trials on the queue: one Celery message each, `optml.trial(experiment, number, params, generation=…)`.

With `batch: auto` one of short trials carries others along: `more=[[number, generation], …]`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError
from kombu.messaging import Producer
from redis import RedisError

from optml_queue.broker import cause_of, queue_name
from optml_queue.errors import UnreachableError
from optml_queue.store import Publication

TASK = "optml.trial"
BATCH = 500


@dataclass(frozen=True, slots=True)
class TrialMessage:
    """Which publication of which trial a message is. Its text is the Celery task's id."""

    experiment: str
    number: int
    generation: int

    def __str__(self) -> str:
        return f"{self.experiment}.{self.number}.{self.generation}"

    @classmethod
    def parse(cls, task_id: str) -> TrialMessage | None:
        """The message a task id stands for; None when it is not one of ours."""
        # From the right: an experiment's id may hold points of its own.
        rest, _, generation = task_id.rpartition(".")
        experiment, _, number = rest.rpartition(".")
        if not experiment or not _is_count(number) or not _is_count(generation):
            return None
        return cls(experiment, int(number), int(generation))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


class Publisher:
    """Publishes through one connection, kept open between calls. Safe to call from several threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._is_sqs = str(app.conf.broker_url).startswith("sqs:")
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    def publish(self, publications: Sequence[Publication]) -> None:
        """Put all on their queues, in batches. Raises UnreachableError.

        After an error some may be on the queue: publishing them again does no harm, older generations are declined.
        """
        if not publications:
            return
        with self._lock:
            is_kept = self._producer is not None
            try:
                self._send(publications)
            except UnreachableError:
                if not is_kept:
                    raise
                # A connection kept since before a restart of the broker fails once: try with a new one.
                self._send(publications)

    def close(self) -> None:
        """Close the connection; a later `publish` opens a new one."""
        with self._lock:
            self._drop()

    def _send(self, publications: Sequence[Publication]) -> None:
        try:
            producer = self._producer = self._producer or self._connect()
            self._clear_way(producer, publications[0])
            with producer.batch(max_size=BATCH):
                for publication in publications:
                    self._put(producer, publication)
        except _errors() as error:
            self._drop()
            cause = error.__cause__ or error
            raise UnreachableError("the broker", str(self._app.conf.broker_url), cause_of(cause)) from error

    def _connect(self) -> Producer:
        connection = self._app.connection_for_write()
        connection.ensure_connection(max_retries=1, interval_start=0.1)
        return Producer(connection, auto_declare=False)

    def _clear_way(self, producer: Producer, first: Publication) -> None:
        """Take what was recalled off the queue where the broker can; elsewhere workers decline it, one by one."""
        if first.overtakes and not self._is_sqs:
            producer.channel.withdraw(queue_name(first.resource_class), first.overtakes, below=first.generation)

    def _put(self, producer: Producer, publication: Publication) -> None:
        message = TrialMessage(publication.experiment, publication.number, publication.generation)
        arguments = (publication.experiment, publication.number, publication.params)
        more = {"more": publication.more} if publication.more else {}
        shown = f", 'more': {len(publication.more)} trials" if more else ""
        task = self._app.amqp.as_task_v2(
            str(message),
            TASK,
            arguments,
            {"generation": publication.generation, **more},
            # What Flower shows. Celery's own rendering, which guards against endless structures, costs more than all
            # the rest of making a message.
            argsrepr=repr(arguments),
            kwargsrepr=f"{{'generation': {publication.generation}{shown}}}",
            time_limit=publication.timeout_s,
            ignore_result=True,
        )
        properties: dict[str, Any] = dict(task.properties)
        if self._is_sqs:
            # Fair queues: one experiment of thousands does not make the others wait.
            properties["MessageGroupId"] = publication.experiment
        producer.publish(
            task.body,
            # The anonymous exchange goes straight to the queue: no table of bindings is read for each message.
            exchange="",
            routing_key=queue_name(publication.resource_class),
            serializer="json",
            headers=task.headers,
            retry=False,
            **properties,
        )

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                producer.connection.release()


def _errors() -> tuple[type[Exception], ...]:
    """What a broker that does not answer may raise."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (OperationalError, BatchPublishError, RedisError, OSError, BotoCoreError, ClientError)
