"""An installation for the routes: a real store, an archive in a folder, a real HTTP server, a token of each role."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from optml_queue.api import create_app
from optml_queue.api.installation import Installation
from optml_queue.api.shelf import Shelf
from optml_queue.settings import Settings
from optml_queue.store import Store
from optml_queue.store.tokens import Role
from tests.api.installations import client_of
from tests.api.serving import serving
from tests.valkey_server import ValkeyServer, valkey_server


@pytest.fixture(scope="session")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="session")
def settings(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("installation")
    return Settings(
        broker_url=server.url,
        archive_url=str(folder / "archive"),
        cache_dir=folder / "cache",
        api_requests_per_minute=1_000_000,
        api_upload_mb=2,
        api_s3_prefixes="s3://open/data/",
    )


@pytest.fixture(scope="session")
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture(scope="session")
def here(app: FastAPI) -> Installation:
    found: Installation = app.state.installation
    return found


@pytest.fixture(scope="session")
def address(app: FastAPI) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture(autouse=True)
def store(here: Installation) -> Store:
    """Nothing in the store, and nothing in the archive that it would not know."""
    here.store.client.flushall()
    shutil.rmtree(here.archive.url, ignore_errors=True)
    here.shelf = Shelf(lambda: here.archive)
    return here.store


@pytest.fixture
def anonymous(address: str, store: Store) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def operator(address: str, here: Installation, store: Store) -> Iterator[httpx.Client]:
    with client_of(address, here, Role.OPERATOR) as client:
        yield client


@pytest.fixture
def viewer(address: str, here: Installation, store: Store) -> Iterator[httpx.Client]:
    with client_of(address, here, Role.VIEWER) as client:
        yield client
