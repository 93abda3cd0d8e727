"""Which messages workers take, and what is left of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.worker.admission import BODY_MAX, RefusedError, admit

QUEUE = "optml-default"
CONTENT = [
    ["e-abcde", 3, {"a": 1}],
    {"generation": 7},
    {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
Spoil = Callable[[dict[str, Any]], object]


def packed(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def message() -> dict[str, Any]:
    return {
        "body": packed(CONTENT),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "task": "optml.trial",
            "id": "e-abcde.3.7",
            "timelimit": [12.5, None],
            "argsrepr": "('e-abcde', 3)",
        },
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    }


def arguments(*args: Any, generation: Any = 7, more: Any = CONTENT[2]) -> Spoil:
    return lambda m: m.update(body=packed([list(args), {"generation": generation}, more]))


def header(**changes: Any) -> Spoil:
    return lambda m: m["headers"].update(changes)


def test_of_a_trials_message_only_what_is_known_is_handed_on() -> None:
    sent = message()
    sent["headers"] |= {"stamps": {"x": 1}, "chord": {"task": "evil"}, "argsrepr": "a\x1b[2Jb"}
    sent["properties"] |= {"reply_to": "elsewhere", "priority": 9}
    taken = admit(sent, QUEUE)
    assert taken["body"] == sent["body"]
    assert taken["headers"]["id"] == "e-abcde.3.7"
    assert taken["headers"]["timelimit"] == [12.5, None]
    assert taken["headers"]["argsrepr"] == "a[2Jb"
    assert not {"stamps", "chord", "compression"} & taken["headers"].keys()
    assert (taken["properties"]["reply_to"], taken["properties"]["priority"]) == ("", 0)
    assert taken["properties"]["delivery_tag"] == "tag"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda m: m.pop("headers"), "no headers"),
        (lambda m: m.update(properties=[]), "no properties"),
        (header(task="evil.task"), "a task that these workers do not have"),
        (header(task=["optml.trial"]), "a task that these workers do not have"),
        (lambda m: m.update({"content-type": "application/x-python-serialize"}), "not JSON"),
        (lambda m: m.update({"content-type": "application/x-yaml"}), "not JSON"),
        (lambda m: m.update({"content-encoding": "utf-16"}), "not JSON"),
        (lambda m: m["properties"].update(body_encoding=None), "not JSON"),
        (header(compression="application/x-gzip"), "not JSON"),
        (lambda m: m.update(body=None), "no body"),
        (lambda m: m.update(body="A" * (BODY_MAX + 1)), "no body"),
        (lambda m: m.update(body="gASVIQ=="), "not JSON"),
        (lambda m: m.update(body=base64.b64encode(b"[" * 100_000).decode()), "not JSON"),
        (lambda m: m.update(body=packed({})), "more than one task"),
        (arguments("e-abcde", 3, {"a": 1}, more={"callbacks": [{"task": "evil"}]}), "more than one task"),
        (arguments("e-abcde", 3), "arguments"),
        (arguments("../../x", 3, {}), "arguments"),
        (arguments("/etc/passwd", 3, {}), "arguments"),
        (arguments("a/../b", 3, {}), "arguments"),
        (arguments("a..b", 3, {}), "arguments"),
        (arguments("e\0", 3, {}), "arguments"),
        (arguments("e\n", 3, {}), "arguments"),
        (arguments("e" * 101, 3, {}), "arguments"),
        (arguments("e-abcde", -1, {}), "arguments"),
        (arguments("e-abcde", 3, {"a": "\ud800"}), "arguments"),
        (arguments("e-abcde", 3, {"a": "x" * 70_000}), "arguments"),
        (arguments("e-other", 3, {"a": 1}), "another id"),
        (header(id="e-abcde.3.8"), "another id"),
        (header(id=None), "another id"),
        (header(eta="2099-01-01T00:00:00"), "to wait"),
        (header(expires="x"), "to wait"),
        (header(retries=3), "to wait"),
        (header(timelimit=[-1, None]), "time limit"),
        (header(timelimit=[float("inf"), None]), "time limit"),
        (header(timelimit=[True, None]), "time limit"),
        (header(timelimit="soon"), "time limit"),
        (lambda m: m["properties"].update(delivery_tag=3), "delivery tag"),
        (lambda m: m["properties"].update(delivery_tag="a\nb"), "delivery tag"),
        (lambda m: m["properties"].update(delivery_info={}), "another queue"),
        (lambda m: m["properties"].update(delivery_info={"exchange": "", "routing_key": "_kombu.x"}), "another queue"),
    ],
)
def test_anything_else_is_refused_in_words_of_ours(spoil: Spoil, why: str) -> None:
    sent = message()
    spoil(sent)
    with pytest.raises(RefusedError, match=why):
        admit(sent, QUEUE)


@given(JSON, st.sampled_from(["body", "headers", "properties", "content-type"]))
def test_no_message_raises_anything_else(value: Any, key: str) -> None:
    for sent in (value, message() | {key: value}, message() | {"headers": {"task": "optml.trial", "id": value}}):
        try:
            admit(sent, QUEUE)
        except RefusedError:
            continue


@given(JSON, JSON)
def test_no_body_raises_anything_else(args: Any, kwargs: Any) -> None:
    with pytest.raises(RefusedError):
        admit(message() | {"body": packed([args, kwargs, CONTENT[2]])}, QUEUE)
