"""What tests of real servers share. A module that needs another server, or an archive in S3, says so itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from optml_queue.archive import Archive, open_archive
from optml_queue.store import Store
from tests.valkey_server import ValkeyServer, valkey_server


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server for the tests of a module."""
    with valkey_server() as running:
        yield running


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    """A store in that server; empty."""
    store = Store.from_url(server.url)
    store.client.flushall()
    yield store
    store.close()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive in a folder; empty."""
    return open_archive(str(tmp_path / "archive"))
