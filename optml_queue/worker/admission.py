"""Which messages workers take.

Anyone who can write to the broker can send one, and Celery believes much of what it says: its headers alone can name
another task, call back, compress a gigabyte, or make a message wait for ever. So a message is read here before Celery
sees it, and only what a trial needs is handed on. Everything else is refused: it leaves the queue, and one line says so
without repeating what it contained.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from optml_queue.publish import TASK, TrialMessage
from optml_queue.worker.message import read_message

BODY_MAX = 1 << 20  # characters; a trial's largest parameters, in base64, are an eighth of that
TAG_MAX = 2_000  # on SQS a receipt, hundreds of characters long
JSON_CONTENT = ("application/json", "utf-8", "base64")
NOTHING_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class RefusedError(Exception):
    """A message that is no trial's. Its text says what is wrong in words of ours, with nothing of the message in it."""


def admit(message: Any, queue: str) -> dict[str, Any]:
    """The message with nothing in it but what a trial needs. Raises RefusedError.

    `message` is what kombu found on the queue, a JSON value. A message that carries a trial is handed on with headers
    and properties made anew from what was understood; its body as it is.
    """
    message = _mapping(message, "is no JSON object")
    headers = _mapping(message.get("headers"), "has no headers: it did not come through Celery")
    properties = _mapping(message.get("properties"), "has no properties: it did not come through Celery")
    if headers.get("task") != TASK:
        raise RefusedError("asks for a task that these workers do not have")
    content = (message.get("content-type"), message.get("content-encoding"), properties.get("body_encoding"))
    if content != JSON_CONTENT or "compression" in headers:
        raise RefusedError("is not JSON in base64: nothing else is read")
    trial = _trial(message.get("body"))
    if headers.get("id") != str(trial):
        raise RefusedError("has another id than the trial it asks for")
    return {
        "body": message["body"],
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": _headers(str(trial), headers),
        "properties": _properties(str(trial), properties, queue),
    }


def _trial(body: Any) -> TrialMessage:
    if not isinstance(body, str) or len(body) > BODY_MAX:
        raise RefusedError(f"has no body of at most {BODY_MAX:,} characters")
    try:
        content = json.loads(base64.b64decode(body, validate=True))
    except (ValueError, RecursionError):
        raise RefusedError("has a body that is not JSON in base64") from None
    if not isinstance(content, list) or len(content) != 3 or content[2] != NOTHING_MORE:
        raise RefusedError("wants more than one task run")
    args, kwargs = content[:2]
    call = read_message(args, kwargs) if isinstance(args, list) and isinstance(kwargs, dict) else None
    if call is None:
        raise RefusedError("has arguments that are not a trial's")
    return TrialMessage(call.experiment, call.number, call.generation)


def _headers(task_id: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    if any(headers.get(name) is not None for name in ("eta", "expires", "group", "shadow")) or headers.get("retries"):
        raise RefusedError("is to wait, to expire, or to pass for another")
    return {
        "lang": "py",
        "task": TASK,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [_timeout_s(headers.get("timelimit")), None],
        "argsrepr": _shown(headers.get("argsrepr")),
        "kwargsrepr": _shown(headers.get("kwargsrepr")),
        "origin": _shown(headers.get("origin")),
        "ignore_result": True,
    }


def _timeout_s(limits: Any) -> float | None:
    match limits:
        case None | [None, None]:
            return None
        case [int() | float() as limit_s, None] if not isinstance(limit_s, bool) and 0 < limit_s < math.inf:
            return limit_s
    raise RefusedError("has a time limit that is none")


def _shown(text: Any) -> str:
    """What Flower shows of a message's arguments."""
    return "".join(filter(str.isprintable, text[:1_000])) if isinstance(text, str) else ""


def _properties(task_id: str, properties: Mapping[str, Any], queue: str) -> dict[str, Any]:
    tag = properties.get("delivery_tag")
    if not isinstance(tag, str) or not 0 < len(tag) <= TAG_MAX or not tag.isascii() or not tag.isprintable():
        raise RefusedError("has no delivery tag")
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict) or (delivery.get("exchange"), delivery.get("routing_key")) != ("", queue):
        raise RefusedError("was addressed to another queue")
    return {
        "correlation_id": task_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": tag,
    }


def _mapping(value: Any, otherwise: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(otherwise)
    return value
