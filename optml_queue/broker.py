"""The broker: Redis/Valkey or Amazon SQS, as Celery is told of it.

The queue is only transport: whatever a broker loses or repeats, the store puts right. So no message in Redis is kept
until it is acknowledged, and those that SQS keeps may come again after seconds; a heartbeat extends the time of the
ones being worked on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from optml_queue.errors import SettingsError, UnreachableError

if TYPE_CHECKING:  # the clients' libraries are imported when a broker is spoken to, not when settings are read
    import redis
    from botocore.exceptions import ClientError
    from kombu.message import Message

QUEUE_PREFIX = "optml-"
REDIS_TRANSPORT = "optml_queue.worker.transport:Transport"
SQS_TRANSPORT = "optml_queue.worker.sqs_transport:Transport"
CONNECT_LIMIT_S = 5.0
CHECK_LIMIT_S = 9.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
DEAD_LETTERS_SUFFIX = "-dead"
RESOURCE_CLASS = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where messages go.

    `visibility_s` is how long a delivered message may go without a sign of life: SQS delivers it again then, and a
    Redis that is silent is given up well before. The others are SQS's; `tls` None means yes, except on loopback.
    """

    url: str
    visibility_s: float = 15.0
    region: str | None = None
    queue_prefix: str = ""
    tls: bool | None = None

    @property
    def is_sqs(self) -> bool:
        return urlsplit(self.url).scheme == "sqs"

    @property
    def uses_tls(self) -> bool:
        """Whether SQS is spoken to through TLS."""
        return self.tls if self.tls is not None else urlsplit(self.url).hostname not in LOOPBACK


def queue_name(resource_class: str) -> str:
    """The queue that workers of a class take from. Its letters are such that SQS takes them too."""
    if not RESOURCE_CLASS.fullmatch(resource_class):
        raise SettingsError(
            f"resource class {resource_class!r}: must be 1 to 40 of a-z, 0-9 and '-', beginning with a letter or digit"
        )
    if resource_class.endswith(DEAD_LETTERS_SUFFIX):
        raise SettingsError(f"resource class {resource_class!r}: must not end with -dead, as dead letters' queues do")
    return f"{QUEUE_PREFIX}{resource_class}"


def celery_config(broker: Broker, resource_class: str = "default") -> dict[str, Any]:
    """Celery's settings for a broker. Nothing is pickled; one message at a time, acknowledged after the work."""
    config: dict[str, Any] = {
        "broker_url": broker.url,
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": queue_name(resource_class),
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        # A trial of hours outlives a broker's restart: the store, not the connection, says whose it is.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_detect_quorum_queues": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # Twenty children starting on two cores need longer than Celery's 4 s.
        "worker_proc_alive_timeout": 60.0,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_heartbeat": 0,
        # A broadcast that anyone who can write to the broker may send could stop all workers. Ours are steered through
        # the store, on every broker alike.
        "worker_enable_remote_control": False,
    }
    return config | (_sqs_config(broker) if broker.is_sqs else _redis_config(broker))


def _redis_config(broker: Broker) -> dict[str, Any]:
    return {
        "broker_transport": REDIS_TRANSPORT,
        # Kombu's credit drifts after reconnects, and a worker would then hoard messages before its busy child.
        "worker_disable_prefetch": True,
        "broker_transport_options": {
            # A delivered message is gone: kombu's copies of those not yet acknowledged would cost a quarter of a short
            # trial's time, and the store publishes again what was lost with a worker.
            "ack_emulation": False,
            "priority_steps": [0],
            # Of several queues the first that has a message is read: classes are taken in the order they were named.
            "queue_order_strategy": "priority",
            "socket_connect_timeout": CONNECT_LIMIT_S,
            # All that is waited for like this is answered at once by a server that is there.
            "socket_timeout": max(1.0, broker.visibility_s / 5),
            "socket_keepalive": True,
            # How often the transport looks whether the server still answers; the name is kombu's.
            "unacked_restore_interval": broker.visibility_s / 5,
        },
    }


def _sqs_config(broker: Broker) -> dict[str, Any]:
    options: dict[str, Any] = {
        "visibility_timeout": int(broker.visibility_s),
        "queue_name_prefix": broker.queue_prefix,
        "wait_time_seconds": 10,
        # How often a worker that was busy looks whether it may receive again: the pause between two trials.
        "polling_interval": 0.05,
        "is_secure": broker.uses_tls,
        "client-config": {"connect_timeout": CONNECT_LIMIT_S, "read_timeout": 30.0},
    }
    if broker.region:
        options["region"] = broker.region
    return {"broker_transport": SQS_TRANSPORT, "broker_transport_options": options}


def check_broker(broker: Broker | str, what: str = "the broker") -> None:
    """Return when the broker answers. Raises UnreachableError within 10 seconds, whatever the network does.

    `what` is what the error calls it: a store in Redis can be asked in the same way.
    """
    target = Broker(broker) if isinstance(broker, str) else broker
    failures: list[Exception] = []

    def ask() -> None:
        try:
            (_ask_sqs if target.is_sqs else _ask_redis)(target)
        except Exception as error:  # noqa: BLE001 — told to the caller below
            failures.append(error)

    # A resolver that does not answer has no timeout of its own: wait for it in a thread that may be left behind.
    asking = threading.Thread(target=ask, name="check-broker", daemon=True)
    asking.start()
    asking.join(CHECK_LIMIT_S)
    if asking.is_alive():
        raise UnreachableError(what, target.url, f"no answer in {CHECK_LIMIT_S:g} s")
    if failures:
        raise UnreachableError(what, target.url, cause_of(failures[0])) from None


def cause_of(error: BaseException) -> str:
    """An error in one line, for people."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _ask_redis(broker: Broker) -> None:
    with redis_client(broker, timeout_s=CONNECT_LIMIT_S) as client:
        client.ping()


def _ask_sqs(broker: Broker) -> None:
    from botocore.exceptions import ClientError

    try:
        sqs_client(broker, timeout_s=4.0).list_queues(QueueNamePrefix=broker.queue_prefix + "optml-", MaxResults=1)
    except ClientError as error:
        # Least-privilege roles may not list queues; a refusal is an answer.
        if error.response["Error"]["Code"] not in {"AccessDenied", "AccessDeniedException"}:
            raise


def redis_client(broker: Broker, timeout_s: float) -> redis.Redis:
    """A client of its own for a Redis broker, without retries."""
    import redis

    return redis.Redis.from_url(broker.url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s)


def sqs_client(broker: Broker, timeout_s: float) -> Any:
    """A boto3 client for SQS with the URL's key and endpoint, else with AWS's usual sources of both."""
    import boto3
    from botocore.config import Config

    parts = urlsplit(broker.url)
    options: dict[str, Any] = {}
    if parts.hostname:
        port = f":{parts.port}" if parts.port else ""
        options["endpoint_url"] = f"{'https' if broker.uses_tls else 'http'}://{parts.hostname}{port}"
    if parts.username and parts.password:
        options["aws_access_key_id"] = unquote(parts.username)
        options["aws_secret_access_key"] = unquote(parts.password)
    region = broker.region or boto3.Session().region_name or "us-east-1"  # kombu's default too
    config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 1})
    return boto3.Session().client("sqs", region_name=region, config=config, **options)


def is_missing_queue(error: ClientError) -> bool:
    """Whether SQS says that there is no queue of that name."""
    return str(error.response["Error"]["Code"]).endswith(("NonExistentQueue", "QueueDoesNotExist"))


def empty_queues(broker: Broker) -> None:
    """Remove every message from a Redis broker that this package uses alone. Raises UnreachableError."""
    import redis

    try:
        with redis_client(broker, timeout_s=CONNECT_LIMIT_S) as client:
            queues = list(client.scan_iter(match=f"{QUEUE_PREFIX}*"))
            if queues:
                client.delete(*queues)
    except redis.RedisError as error:
        raise UnreachableError("broker", broker.url, cause_of(error)) from None


class SqsVisibility:
    """Keeps messages that are being worked on from being delivered again."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client: Any = None

    def extend(self, messages: Sequence[Message]) -> None:
        """Hide `messages` for another `visibility_s` from now. Raises UnreachableError."""
        from botocore.exceptions import BotoCoreError, ClientError

        for message in messages:
            delivery = message.delivery_info
            if "sqs_message" not in delivery:
                continue
            try:
                self._client = self._client or sqs_client(self._broker, timeout_s=4.0)
                self._client.change_message_visibility(
                    QueueUrl=delivery["sqs_queue"],
                    ReceiptHandle=delivery["sqs_message"]["ReceiptHandle"],
                    VisibilityTimeout=int(self._broker.visibility_s),
                )
            except ClientError:
                continue  # acknowledged or expired meanwhile: the store decides whose the trial is
            except BotoCoreError as error:
                raise UnreachableError("the broker", self._broker.url, cause_of(error)) from None
