"""What the routes work with: the store, the archive and the settings of one installation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.columns import Columns, Tables
from optml_queue.api.importance import Importances
from optml_queue.api.live import Feeds
from optml_queue.api.reader import Reader
from optml_queue.api.shelf import Shelf
from optml_queue.archive import Archive, open_archive
from optml_queue.errors import NotFoundError
from optml_queue.settings import Settings
from optml_queue.store import Experiment, Store
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
    shelf: Shelf = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.store)
        self.feeds = Feeds(self.store)
        self.tables = Tables(self.store)
        self.importances = Importances()
        self.shelf = Shelf(lambda: self.archive)

    @cached_property
    def archive(self) -> Archive:
        return open_archive(self.settings.archive)

    def experiment(self, text: str) -> Experiment:
        """The experiment meant by an id or `latest`: the store's, else the archive's (ArchivedExperiment).

        Raises NotFoundError, and UnreachableError when the store does not know it and the archive does not answer.
        """
        try:
            return self.store.experiment(self.store.resolve(text))
        except NotFoundError as unknown:
            try:
                return self.shelf.find(text)
            except NotFoundError:
                raise unknown from None

    def reader(self, found: Experiment) -> Reader:
        """Where an experiment's trials are read from."""
        return self.shelf.trials(found) if isinstance(found, ArchivedExperiment) else self.store

    def columns(self, found: Experiment) -> Columns:
        """The finished trials of an experiment in columns, as many as could be read in the time of one request."""
        if isinstance(found, ArchivedExperiment):
            return self.shelf.trials(found).columns()
        return self.tables.columns(found)


def installation_of(request: Request) -> Installation:
    """The installation that the application of a request serves."""
    found: Installation = request.app.state.installation
    return found


Here = Annotated[Installation, Depends(installation_of)]
