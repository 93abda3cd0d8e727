"""What happens in an experiment, as it happens: one poller an experiment, shared by all who watch it.

An event's id is a position in the log of finished trials. A stream that was cut goes on at the position it had come
to, in this process or another: nothing about a stream is kept.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from http import HTTPStatus
from time import monotonic

from starlette.concurrency import run_in_threadpool

from optml_queue.api.documents import ExperimentDocument, TrialDocument
from optml_queue.api.problems import ApiError
from optml_queue.errors import NotFoundError, OptmlError
from optml_queue.store import Experiment, Store

POLL_S = 0.25  # with reading and sending, what happens is told well within a second
KEEP_ALIVE_S = 15.0  # proxies close a connection that is silent for longer than a minute or so
LIFE_S = 900.0  # then the browser comes again, and its session is looked at anew
BATCH = 200  # trials in one event
FRAMES = 32  # events kept for those that lag; who lags more reads the store
STREAMS_MAX = 1_000
RETRY = b"retry: 1000\n\n"
KEEP_ALIVE = b": still here\n\n"


class Feed:
    """One experiment's events. The poller lives as long as somebody listens."""

    def __init__(self, store: Store, experiment: str) -> None:
        self.experiment = experiment
        self.listeners = 0
        self.position = 0
        self.state = b""  # the last `experiment` event
        self.is_over = False
        self.frames: deque[tuple[int, int, bytes]] = deque(maxlen=FRAMES)  # first position, position after, event
        self._store = store
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, found: Experiment) -> None:
        """Begin to poll, from what was just read on."""
        self._note(found)
        self.position = found.finished
        self._task = asyncio.create_task(self._poll())

    def stop(self) -> None:
        """Poll no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def change(self, limit_s: float) -> bool:
        """Wait for news; False when there were none in time."""
        try:
            await asyncio.wait_for(self._changed.wait(), limit_s)
        except TimeoutError:
            return False
        return True

    async def _poll(self) -> None:
        while not self.is_over:
            try:
                found = await run_in_threadpool(self._store.experiment, self.experiment)
                await self._read_up_to(found.finished)
                self._note(found)
            except NotFoundError:
                self._end("removed")
            except OptmlError:
                pass  # the store does not answer: keep-alives go on, and so do we when it does
            self._tell()
            await asyncio.sleep(POLL_S)

    async def _read_up_to(self, finished: int) -> None:
        while self.position < finished:
            stop = min(self.position + BATCH, finished)
            frame = await run_in_threadpool(trials_event, self._store, self.experiment, self.position, stop)
            self.frames.append((self.position, stop, frame))
            self.position = stop

    def _note(self, found: Experiment) -> None:
        document = ExperimentDocument.of(found).model_dump_json()
        self.state = _event("experiment", document, found.finished)
        if found.is_over:
            self._end(found.state)

    def _end(self, why: str) -> None:
        self.is_over = True
        self.state += _event("end", json.dumps({"state": why}))

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Feeds:
    """The feeds that somebody listens to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[str, Feed] = {}
        self._streams = 0

    async def close(self) -> None:
        """End all pollers."""
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()

    async def stream(self, found: Experiment, since: int | None) -> AsyncIterator[bytes]:
        """The events of an experiment from a position in its log on; None: from now on."""
        if self._streams >= STREAMS_MAX:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, f"{STREAMS_MAX:,} streams are open here; try again later")
        return self._events(found, found.finished if since is None else min(since, found.finished))

    async def _events(self, found: Experiment, position: int) -> AsyncIterator[bytes]:
        feed = self._join(found)
        try:
            ends_at = monotonic() + LIFE_S
            yield RETRY
            told = b""
            while monotonic() < ends_at:
                # Read before the trials: what it counts must not be ahead of what was sent when it says the end.
                state, target = feed.state, feed.position
                while position < target:
                    position, frame = await self._next(feed, position)
                    yield frame
                if state != told:
                    told = state
                    yield state
                if feed.is_over and state == feed.state:
                    return
                if feed.position == position and feed.state == state and not await feed.change(KEEP_ALIVE_S):
                    yield KEEP_ALIVE
        finally:
            self._leave(feed)

    async def _next(self, feed: Feed, position: int) -> tuple[int, bytes]:
        for first, after, frame in feed.frames:
            if first == position:
                return after, frame
        stop = min(position + BATCH, feed.position)
        return stop, await run_in_threadpool(trials_event, self._store, feed.experiment, position, stop)

    def _join(self, found: Experiment) -> Feed:
        feed = self._feeds.get(found.id)
        if feed is None or feed.is_over:
            feed = self._feeds[found.id] = Feed(self._store, found.id)
            feed.start(found)
        feed.listeners += 1
        self._streams += 1
        return feed

    def _leave(self, feed: Feed) -> None:
        feed.listeners -= 1
        self._streams -= 1
        if not feed.listeners:
            feed.stop()
            if self._feeds.get(feed.experiment) is feed:
                del self._feeds[feed.experiment]


def trials_event(store: Store, experiment: str, start: int, stop: int) -> bytes:
    """The trials at some positions of the log as one event; its id is the position after them."""
    trials = store.finished(experiment, start, stop)
    documents = ",".join(TrialDocument.of(trial).model_dump_json() for trial in trials)
    return _event("trials", f"[{documents}]", stop)


def _event(name: str, data: str, id_: int | None = None) -> bytes:
    # JSON has no line feeds outside of escapes, so one data line is enough.
    head = f"event: {name}\n" if id_ is None else f"id: {id_}\nevent: {name}\n"
    return f"{head}data: {data}\n\n".encode(errors="backslashreplace")
