"""What the tests that kill processes share: a server for each module, and two workers on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, cluster
from tests.faults.times import TIMES
from tests.valkey_server import ValkeyServer, valkey_server


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module")
def workers(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path_factory.mktemp("workers"), 2) as running:
        yield running
