"""The Celery application. Making it connects to nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection

from optml_queue.broker import celery_config
from optml_queue.retention import RetainingStore
from optml_queue.settings import Settings, settings
from optml_queue.store import Store
from optml_queue.worker.ending import Ending
from optml_queue.worker.heartbeat import Heartbeat
from optml_queue.worker.memory import OomWatch
from optml_queue.worker.tasks import TrialTask
from optml_queue.worker.turns import Note, Turns
from optml_queue.worker.wakeup import WakeOnSignal

SHORTEST_TIMEOUT_S = 3.0  # the control process waits for news for a second
RETRIES = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 5.0}


class BrokerConnection(Connection):
    """Kombu's, but a lost broker is looked for sooner: kombu waits for 2 s, then 4, and up to 30."""

    loop_note = Note()

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        """Connect, trying again until it works. See kombu's Connection."""
        look: Callable[[], None] | None = options.pop("callback", None)
        return super().ensure_connection(*args, **{**RETRIES, **options}, callback=lambda: self._look_again(look))

    def _look_again(self, look: Callable[[], None] | None) -> None:
        # Kombu calls this about once a second. A worker whose broker is away is not a wedged one.
        self.loop_note.turn("looks for its broker")
        if look is not None:
            look()


class Amqp(AMQP):  # type: ignore[misc]  # celery has no types
    """Celery's messaging with such connections."""

    def Connection(self, *args: Any, **options: Any) -> BrokerConnection:  # noqa: N802 -- celery's name for a class
        """A connection that notes it when it looks for the broker."""
        connection = BrokerConnection(*args, **options)
        connection.loop_note = self.app.loop_note
        return connection


class Application(Celery):  # type: ignore[misc]  # celery has no types
    """Celery with our settings and a store. `threads` is each worker's part of the machine's cores.

    `turns` are the supervisor's notes; a worker's process has one for its event loop and one for its heartbeat.
    """

    threads = 1
    turns = Turns()
    loop_note = Note()
    beat_note = Note()

    amqp_cls = Amqp
    events_cls = "optml_queue.worker.events:Events"

    def __init__(self, settings: Settings) -> None:
        super().__init__("optml_queue", set_as_current=False)
        self.settings = settings
        self.conf.update(celery_config(settings.broker, settings.resource_class))
        self.conf.worker_send_task_events = settings.events
        self.conf.result_backend = "optml_queue.worker.backend:StoreBackend"
        self.register_task(TrialTask())
        self.steps["worker"].update((Heartbeat, WakeOnSignal))
        self.oom_watch = OomWatch()
        self.ending = Ending()  # each worker makes one of its own: see Heartbeat
        self._stores: dict[int, Store] = {}

    @property
    def store(self) -> Store:
        """This process's store, made at its first use: a connection must not be shared across a fork."""
        pid = os.getpid()
        if pid not in self._stores:
            self._stores = {pid: self._connect()}
        return self._stores[pid]

    def _connect(self) -> Store:
        # A call that goes unanswered is made again over a new connection, while the lease still holds.
        timeout_s = max(SHORTEST_TIMEOUT_S, self.settings.lease_s / 2)
        return RetainingStore.beside(self.settings.archive, self.settings.store, timeout_s=timeout_s)


@cache
def default_app() -> Application:
    """The application of this process's environment. Raises SettingsError when no broker is set."""
    return Application(settings())
