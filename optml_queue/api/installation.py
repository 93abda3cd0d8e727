"""What the routes work with: the store, the archive and the settings of one installation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from optml_queue.api.columns import Tables
from optml_queue.api.importance import Importances
from optml_queue.api.live import Feeds
from optml_queue.archive import Archive, open_archive
from optml_queue.settings import Settings
from optml_queue.store import Store
from optml_queue.store.tokens import Tokens


@dataclass
class Installation:
    """One for each process of the API. It holds caches, and no state that another process would miss."""

    settings: Settings
    store: Store
    tokens: Tokens = field(init=False)
    feeds: Feeds = field(init=False)
    tables: Tables = field(init=False)
    importances: Importances = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.store)
        self.feeds = Feeds(self.store)
        self.tables = Tables(self.store)
        self.importances = Importances(self.store)

    @cached_property
    def archive(self) -> Archive:
        return open_archive(self.settings.archive)


def installation_of(request: Request) -> Installation:
    """The installation that the application of a request serves."""
    found: Installation = request.app.state.installation
    return found


Here = Annotated[Installation, Depends(installation_of)]
