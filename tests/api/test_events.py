"""Server-sent events: live, resumed after a cut, one poller for all who watch."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from optml_queue.api import live
from optml_queue.api.installation import Installation
from optml_queue.driver import Order
from optml_queue.store import Store
from tests.api.installations import SPEC, carried_out, submitted
from tests.processes import wait_until

pytestmark = pytest.mark.integration

Event = tuple[str, str, object]  # id, name, data
GRID = SPEC.replace("[1e-3, 1e-2, 0.1, 1.0]", "{min: 1, max: 60, step: 1}")


def events(response: httpx.Response) -> Iterator[Event]:
    """The events of a stream as they come; comments are left out."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


def numbers(some: list[Event]) -> list[int]:
    return [trial["number"] for _, name, data in some if name == "trials" for trial in data]  # type: ignore[attr-defined]


def at(id_: str) -> str:
    return f"/api/v1/experiments/{id_}/events"


def test_what_happens_is_told_within_a_second_to_the_end(operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    with operator.stream("GET", at(id_)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = events(response)
        assert next(told)[1] == "experiment"
        finished_at = time.monotonic()
        carried_out(store, id_)
        rest = list(told)
    assert time.monotonic() - finished_at < 3  # 0.4 s; a busy machine is no failure
    assert numbers(rest) == [0, 1, 2, 3]
    assert [name for _, name, _ in rest][-1] == "end"
    assert rest[-1][2] == {"state": "complete"}
    last = [data for _, name, data in rest if name == "experiment"][-1]
    assert last["counts"]["complete"] == 4  # type: ignore[index]


def test_a_stream_that_was_cut_goes_on_where_it_was(operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator, GRID)
    carried_out(store, id_, most=30)
    seen: list[Event] = []
    with operator.stream("GET", at(id_), params={"since": 0}) as response:
        for event in events(response):
            seen.append(event)
            if event[1] == "trials":
                break
    position = seen[-1][0]
    assert len(numbers(seen)) == int(position) == 30
    for number in range(30, 60):  # while nobody listens
        store.order(id_, number, Order.CANCEL)
    with operator.stream("GET", at(id_), headers={"Last-Event-ID": position}) as response:
        seen += list(events(response))
    assert sorted(numbers(seen)) == list(range(60))
    assert len(numbers(seen)) == 60


def test_who_lags_reads_what_the_poller_no_longer_has(
    operator: httpx.Client, here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BATCH", 7)
    id_ = submitted(operator, GRID)
    carried_out(here.store, id_, "cfd" * 20)
    with operator.stream("GET", at(id_), params={"since": 3}) as response:
        seen = list(events(response))
    assert numbers(seen) == list(range(3, 60))
    assert [int(id_) for id_, name, _ in seen if name == "trials"] == [10, 17, 24, 31, 38, 45, 52, 59, 60]


def test_who_comes_late_misses_nothing_of_what_the_poller_did_not_see(operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator, GRID)
    carried_out(store, id_, "c" * 20, most=20)
    with operator.stream("GET", at(id_)) as first:
        watched = events(first)
        next(watched)
        store.order(id_, 20, Order.CANCEL)
        assert numbers([next(event for event in watched if event[1] == "trials")]) == [20]
        # The poller now keeps an event that begins after the position which the second one asks for.
        with operator.stream("GET", at(id_), params={"since": 5}) as second:
            late = events(second)
            seen: list[Event] = []
            while len(numbers(seen)) < 16:
                seen.append(next(late))
    assert numbers(seen) == list(range(5, 21))


def test_an_experiment_that_is_removed_ends_its_streams(operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    with operator.stream("GET", at(id_)) as response:
        told = events(response)
        next(told)
        store.remove(id_)
        assert list(told)[-1][1:] == ("end", {"state": "removed"})


def test_a_silent_stream_is_kept_alive(operator: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.05)
    id_ = submitted(operator)
    with operator.stream("GET", at(id_)) as response:
        assert any(line.startswith(":") for line in response.iter_lines())


def test_many_streams_share_one_poller_which_ends_with_the_last(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator)
    reads, read = [], here.store.experiment
    lock = threading.Lock()

    def counted(experiment: str) -> object:
        with lock:
            reads.append(experiment)
        return read(experiment)

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        streams = [events(stack.enter_context(operator.stream("GET", at(id_)))) for _ in range(20)]
        for stream in streams:
            assert next(stream)[1] == "experiment"
        assert len(here.feeds._feeds) == 1
        patched.setattr(here.store, "experiment", counted)
        carried_out(here.store, id_)
        assert [numbers(list(stream)) for stream in streams] == [[0, 1, 2, 3]] * 20
        # One poller looked, twenty times fewer than twenty would have (carrying out looks too).
        assert len(reads) < 20
    wait_until(lambda: not here.feeds._feeds, what="the end of the poller")


def test_a_stream_that_is_left_leaves_nothing(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator)
    with operator.stream("GET", at(id_)) as response:
        told = events(response)  # kept: a generator that nobody holds closes the stream
        next(told)
        assert here.feeds._feeds[id_].listeners == 1
    wait_until(lambda: not here.feeds._feeds, what="the end of the poller")


@pytest.mark.parametrize("last", ["-1", "x", "1" * 30])
def test_a_position_that_is_none(operator: httpx.Client, last: str) -> None:
    assert operator.get(at(submitted(operator)), headers={"Last-Event-ID": last}).status_code == 422
