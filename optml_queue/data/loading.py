"""Data sets by their spec, each loaded once per process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock

from optml_queue.data.dataspec import KINDS, SHIPPED, TABLES, DataSpec
from optml_queue.data.file import file_digest
from optml_queue.data.series import Series, channel_series, csv_series, sunspot_series
from optml_queue.data.table import Table
from optml_queue.errors import DataError

DataSet = Series | Table
Fetch = Callable[[str], Path]  # brings a file here: by its digest, or by its s3:// address

_CACHED_SETS = 8

_cache: OrderedDict[str, DataSet] = OrderedDict()
_cache_lock = Lock()


def load(spec: DataSpec, fetch: Fetch | None = None, cache_dir: Path | None = None) -> DataSet:
    """The series or table of a spec, from this process's cache when it is there.

    `fetch` gets the file with a digest from the archive, and what lies at an s3:// address; without it, a file is
    read from its path. Tables of more than 64 MiB are kept in `cache_dir` as they are used, and memory-mapped, so
    that the processes of a machine share them; without a `cache_dir` they are held in memory.
    Raises DataError when the data cannot be read, or are not what they were at submission.
    """
    with _cache_lock:  # held while loading: two threads asking at once read a file once
        if not spec.digest and (path := find_file(spec, fetch, cache_dir)):
            # A file named without its digest is read again only when its content has changed.
            spec = replace(spec, digest=file_digest(path))
            fetch = _that_is(path)
        key = spec.content_key
        if key not in _cache:
            _cache[key] = _read(spec, fetch, cache_dir)
        _cache.move_to_end(key)
        while len(_cache) > _CACHED_SETS:
            _cache.popitem(last=False)
        return _cache[key]


def find_file(spec: DataSpec, fetch: Fetch | None = None, cache_dir: Path | None = None) -> Path | None:
    """The file on this machine that the data are read from; None for data that come with the package.

    Raises DataError when there is no such file (it says where to put it, or what to install), and when the file
    at hand is not what it was at submission.
    """
    if spec.kind not in KINDS:
        raise DataError(f"unknown kind of data {spec.kind!r}; known are {', '.join(KINDS)}")
    if spec.kind in SHIPPED:
        return None
    if fetch is not None and spec.digest:
        return fetch(spec.digest)
    path = _own_file(spec, fetch, cache_dir)
    if spec.digest and file_digest(path) != spec.digest:
        raise DataError(f"{path}: its content changed since the experiment was submitted; submit it again")
    return path


def _own_file(spec: DataSpec, fetch: Fetch | None, cache_dir: Path | None) -> Path:
    address = str(spec.options.get("path", ""))
    if address.startswith("s3://"):
        if fetch is None:
            raise DataError(f"{address}: is not on this machine; download it and give its path")
        return fetch(address)
    if address:
        return Path(address)
    if spec.kind == "digits":
        from optml_queue.data import digits

        return digits.find()
    if spec.kind == "mnist":
        from optml_queue.data import mnist

        return mnist.find(cache_dir)
    raise DataError(f"data of the kind {spec.kind!r} need a path")


def _that_is(path: Path) -> Fetch:
    return lambda _digest: path


def _read(spec: DataSpec, fetch: Fetch | None, cache_dir: Path | None) -> DataSet:
    if spec.kind in TABLES:
        # Tables of the user's may be large, and what prepares them needs NumPy at once.
        from optml_queue.data.prepared import load_table

        return load_table(spec, lambda: _existing(find_file(spec, fetch, cache_dir)), cache_dir)
    if spec.kind == "channel":
        return channel_series(spec.test_fraction, **spec.options)
    if spec.kind == "sunspots":
        return sunspot_series(spec.test_fraction)
    path = _existing(find_file(spec, fetch, cache_dir))
    return csv_series(path, spec.options["column"], spec.test_fraction, spec.digest)


def _existing(path: Path | None) -> Path:
    assert path is not None  # noqa: S101 - only data that come with the package have none
    return path
