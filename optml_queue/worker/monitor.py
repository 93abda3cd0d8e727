"""Flower, Celery's own monitor, in the foreground."""

from __future__ import annotations

import os

from optml_queue.errors import InputError
from optml_queue.settings import Settings
from optml_queue.worker.application import Application
from optml_queue.worker.events import events_url


def serve_monitor(settings: Settings, host: str, port: int, user_and_password: str) -> None:
    """Serve Flower until SIGTERM or SIGINT. Raises InputError when it is not installed."""
    try:
        import flower.command  # noqa: F401
    except ImportError:
        raise InputError("Flower is not installed; pip install 'optml-queue[monitor]'") from None
    app = Application(settings.model_copy(update={"broker_url": events_url(settings)}))
    # Not on the command line, where every user of the machine could read it.
    os.environ["FLOWER_BASIC_AUTH"] = user_and_password
    # A file flowerconfig.py in the current folder would be run otherwise.
    app.start(["--quiet", "flower", f"--address={host}", f"--port={port}", f"--conf={os.devnull}"])
