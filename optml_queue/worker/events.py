"""Celery's events, for Flower: through the broker where it can carry them, else through the store's server.

SQS has no way to send one message to all who listen. The store is a Redis or Valkey server anyway, so over SQS events
go there, and Flower is pointed to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher
from kombu.connection import Connection

from optml_queue.broker import celery_config
from optml_queue.settings import Settings

if TYPE_CHECKING:
    from optml_queue.worker.application import Application


class StoreDispatcher(EventDispatcher):  # type: ignore[misc]  # celery has no types
    """Sends events to the store's server when the broker is SQS, whatever connection it is given."""

    app: Application

    def __init__(self, connection: Any = None, *args: Any, **kwargs: Any) -> None:
        settings = self.app.settings
        if settings.events and settings.broker.is_sqs:
            connection = _store_connection(settings)
        super().__init__(connection, *args, **kwargs)


class Events(CeleryEvents):  # type: ignore[misc]  # celery has no types
    """What `app.events` is."""

    dispatcher_cls = "optml_queue.worker.events:StoreDispatcher"


def events_url(settings: Settings) -> str:
    """The server that events go through."""
    return settings.store if settings.broker.is_sqs else settings.broker.url


def _store_connection(settings: Settings) -> Connection:
    config = celery_config(replace(settings.broker, url=settings.store))
    return Connection(  # type: ignore[no-untyped-call]  # kombu says that it is typed, but hardly is
        settings.store, transport=config["broker_transport"], transport_options=config["broker_transport_options"]
    )
