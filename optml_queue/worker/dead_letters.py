"""SQS's dead-letter queues: every resource class has one, and what comes there is told to the store.

SQS moves a message there that was received again and again and never acknowledged. No trial is lost with it: the store
is the truth, and a trial whose last message died is published again. A dead-letter queue is thus emptied as it fills:
what a trial's message stood for is in the store, and a stranger's message is removed after a line in the log.

Only the control process needs the rights for this; where it lacks them it says so once, and the store finds lost
messages as it does on other brokers.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from optml_queue.broker import (
    DEAD_LETTERS_SUFFIX,
    Broker,
    cause_of,
    is_missing_queue,
    queue_name,
    sqs_client,
)
from optml_queue.errors import OptmlError
from optml_queue.publish import TASK, TrialMessage
from optml_queue.store import Store, is_experiment_id

logger = logging.getLogger(__name__)

LOOK_S = 10.0
# A lost worker costs its message one receipt; the trial then gets a new message, and the old one goes at its next
# receipt. What is received more often than this ends its workers, or cannot be read.
RECEIPTS_MAX = 5
RETENTION_S = 14 * 24 * 3600  # the longest that SQS offers
AT_ONCE = 10  # messages of one request; SQS gives no more


class DeadLetters(threading.Thread):
    """Gives the queues of all resource classes their dead-letter queues, and reads those."""

    def __init__(self, store: Store, broker: Broker) -> None:
        super().__init__(name="dead-letters", daemon=True)
        self._store = store
        self._broker = broker
        self._client: Any = None
        self._urls: dict[str, str] = {}  # resource class → the URL of its dead-letter queue
        self._denied: set[str] = set()  # resource classes whose queues may not be wired or read
        self._said = ""

    def run(self) -> None:
        """Go on for ever."""
        while True:
            try:
                self.look()
                self._said = ""
            except (OptmlError, BotoCoreError, ClientError) as error:
                self._say(f"dead letters: {cause_of(error)}; trying again")
            except Exception:
                logger.exception("dead letters: failed; trying again")
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Wire what is not, and empty every dead-letter queue. Raises UnreachableError and boto3's errors."""
        self._client = self._client or sqs_client(self._broker, timeout_s=10.0)
        for resource_class in self._classes():
            if resource_class in self._denied:
                continue
            try:
                self._look_at(resource_class)
            except ClientError as error:
                if not _is_denied(error):
                    raise
                self._denied.add(resource_class)
                logger.warning(
                    "the queue of class %s goes without a dead-letter queue that is read (%s); the store finds lost "
                    "messages all the same",
                    resource_class,
                    cause_of(error),
                )

    def _classes(self) -> list[str]:
        wanted = {experiment.resource_class for experiment in self._store.of_ids(self._store.active())}
        served = {worker.resource_class for worker in self._store.workers()}
        return sorted(wanted | served | self._urls.keys())

    def _look_at(self, resource_class: str) -> None:
        if resource_class not in self._urls:
            url = wire(self._client, self._broker, resource_class)
            if url is None:
                return
            self._urls[resource_class] = url
        url = self._urls[resource_class]
        found = revived = strangers = 0
        while messages := receive(self._client, url):
            for message in messages:
                trial = trial_of(message.get("Body", ""))
                if trial is None:
                    strangers += 1
                elif self._store.revive(trial.experiment, trial.number, trial.generation):
                    revived += 1
            # Not before the store knows: until then they come again.
            delete(self._client, url, messages)
            found += len(messages)
        if found:
            logger.warning(
                "%d dead letters of class %s: %d trials are published again, %d need nothing, %d strangers' removed",
                found,
                resource_class,
                revived,
                found - revived - strangers,
                strangers,
            )

    def _say(self, text: str) -> None:
        if text != self._said:
            logger.warning("%s", text)
        self._said = text


def wire(client: Any, broker: Broker, resource_class: str) -> str | None:
    """Have SQS move what cannot be delivered to a class to its dead-letter queue, made where it is missing.

    Returns the URL of the dead-letter queue; None while the class's own queue does not exist. A queue that has a
    redrive policy keeps it: then its queue of dead letters is read. Raises boto3's errors.
    """
    name = f"{broker.queue_prefix}{queue_name(resource_class)}"
    url = url_of(client, name)
    if url is None:
        return None
    policy = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
    if "RedrivePolicy" in policy:
        return url_of(client, str(json.loads(policy["RedrivePolicy"])["deadLetterTargetArn"]).rpartition(":")[2])
    dead = f"{name}{DEAD_LETTERS_SUFFIX}"
    dead_url = url_of(client, dead) or _created(client, dead)
    arn = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": str(RECEIPTS_MAX)})
    client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": redrive})
    logger.info("messages of class %s received more than %d times go to %s", resource_class, RECEIPTS_MAX, dead)
    return dead_url


def _created(client: Any, name: str) -> str:
    return str(client.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": str(RETENTION_S)})["QueueUrl"])


def url_of(client: Any, name: str) -> str | None:
    """The URL of a queue; None when there is no such queue."""
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except ClientError as error:
        if is_missing_queue(error):
            return None
        raise


def receive(client: Any, url: str) -> list[dict[str, Any]]:
    """Up to ten messages, hidden for half a minute."""
    reply = client.receive_message(QueueUrl=url, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=1, VisibilityTimeout=30)
    return list(reply.get("Messages", []))


def delete(client: Any, url: str, messages: Sequence[Mapping[str, Any]]) -> None:
    """Remove received messages."""
    entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
    client.delete_message_batch(QueueUrl=url, Entries=entries)


def trial_of(body: str) -> TrialMessage | None:
    """Which trial a message was for; None for a stranger's. Only its id is believed: the store knows the rest."""
    try:
        headers = json.loads(base64.b64decode(body, validate=True))["headers"]
        trial = TrialMessage.parse(headers["id"]) if headers["task"] == TASK else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return trial if trial and is_experiment_id(trial.experiment) else None


def _is_denied(error: ClientError) -> bool:
    return "AccessDenied" in str(error.response["Error"]["Code"])
