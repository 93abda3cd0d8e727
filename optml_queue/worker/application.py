"""The Celery application. Making it connects to nothing."""

from __future__ import annotations

import os
from functools import cache

from celery import Celery

from optml_queue.broker import celery_config
from optml_queue.settings import Settings, settings
from optml_queue.store import Store
from optml_queue.worker.heartbeat import Heartbeat
from optml_queue.worker.memory import OomWatch
from optml_queue.worker.tasks import TrialTask
from optml_queue.worker.wakeup import WakeOnSignal


class Application(Celery):  # type: ignore[misc]  # celery has no types
    """Celery with our settings and a store. `threads` is each worker's part of the machine's cores."""

    threads = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__("optml_queue", set_as_current=False)
        self.settings = settings
        self.conf.update(celery_config(settings.broker, settings.resource_class))
        self.conf.result_backend = "optml_queue.worker.backend:StoreBackend"
        self.register_task(TrialTask())
        self.steps["worker"].update({Heartbeat, WakeOnSignal})
        self.oom_watch = OomWatch()
        self._stores: dict[int, Store] = {}

    @property
    def store(self) -> Store:
        """This process's store, made at its first use: a connection must not be shared across a fork."""
        pid = os.getpid()
        if pid not in self._stores:
            self._stores = {pid: Store.from_url(self.settings.store)}
        return self._stores[pid]


@cache
def default_app() -> Application:
    """The application of this process's environment. Raises SettingsError when no broker is set."""
    return Application(settings())
