"""Verbs that read a source in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.memory_source import MemorySource


@pytest.fixture
def read_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[MemorySource], MemorySource]:
    """Make the verbs read a source in memory."""

    def use(source: MemorySource) -> MemorySource:
        @contextmanager
        def reading(_results: Path | None = None, _archive: str | None = None) -> Iterator[MemorySource]:
            yield source

        monkeypatch.setattr("optml_queue.cli.connection.reading", reading)
        return source

    return use
