"""The data of a spec with the type that a test expects of them."""

from __future__ import annotations

from typing import Any

from optml_queue.data import DataSpec, Series, Table, load


def series(spec: DataSpec, *args: Any) -> Series:
    """The data of a spec, which are a series."""
    data = load(spec, *args)
    assert isinstance(data, Series)
    return data


def table(spec: DataSpec, *args: Any) -> Table:
    """The data of a spec, which are a table."""
    data = load(spec, *args)
    assert isinstance(data, Table)
    return data
