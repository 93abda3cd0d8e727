"""The `.store` folder inside a results folder: who is there (locks) and how to reach the server (a record).

    host.lock      held exclusively by the host, its server and its workers as long as any of them lives
    clients.lock   held shared by every client; a host that gets it exclusively knows that it is alone
    server.json    the running server's address and password (mode 0600)
    detached       exists while the host shall stay without clients
    addresses.json where `optml up` serves API and monitor, while it does
    workers        a client's wish for workers on a host that has none
    server.log, host.log, appendonlydir/    what the server and the host write

Locks are flock(2): the kernel releases them with the last process that holds them, however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from optml_queue.embedded.server import HOST, answers
from optml_queue.errors import InputError

LOCK_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What server.json holds. `pid` is the host's; `started_at` is in seconds since the epoch, UTC."""

    port: int
    password: str
    pid: int
    version: str
    archive_url: str
    started_at: float

    @property
    def url(self) -> str:
        """The server's URL with its password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def answers(self) -> bool:
        """Whether the server of this record runs: nobody else knows its password."""
        return answers(self.port, self.password)


class StoreFolder:
    """Paths, locks and records of one results folder."""

    def __init__(self, results_dir: Path) -> None:
        self.results_dir = results_dir.absolute()
        self.path = self.results_dir / ".store"
        self.host_lock = self.path / "host.lock"
        self.clients_lock = self.path / "clients.lock"
        self.host_log = self.path / "host.log"
        self._record = self.path / "server.json"
        self._detached = self.path / "detached"
        self._workers = self.path / "workers"
        self._addresses = self.path / "addresses.json"

    def create(self) -> None:
        """Make the folder, readable by its owner alone. Raises InputError when that is not possible."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise self.unusable(error) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self.unusable(PermissionError("no permission to write"))

    def unusable(self, error: OSError) -> InputError:
        """The error for a results folder that cannot be written."""
        return InputError(
            f"the results folder {self.results_dir} cannot be used: {error.strerror or error}.\n"
            "    Choose one that you may write to with OPTML_RESULTS_DIR."
        )

    # The record of the running server.

    def record(self) -> ServerRecord | None:
        """The record as it was last written, stale after a crash; None when there is none."""
        try:
            return ServerRecord(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def running(self) -> ServerRecord | None:
        """The record of a server that answers now."""
        record = self.record()
        return record if record is not None and record.answers() else None

    def write_record(self, record: ServerRecord) -> None:
        """Write server.json, whole or not at all."""
        _write(self._record, json.dumps(asdict(record)))

    def forget(self) -> None:
        """Remove what must not outlive a host."""
        for path in (self._record, self._detached, self._workers, self._addresses):
            path.unlink(missing_ok=True)

    # What is served beside it.

    def write_addresses(self, addresses: Mapping[str, str]) -> None:
        """Note where API and monitor are served."""
        _write(self._addresses, json.dumps(dict(addresses)))

    def addresses(self) -> dict[str, str]:
        """Where API and monitor are served, by name; nothing when they are not."""
        try:
            return dict(json.loads(self._addresses.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def forget_addresses(self) -> None:
        """They are served no longer."""
        self._addresses.unlink(missing_ok=True)

    # What clients ask of the host.

    def detach(self) -> None:
        """Ask the host to stay without clients."""
        _write(self._detached, "")

    def detached(self) -> bool:
        """Whether the host shall stay without clients."""
        return self._detached.exists()

    def wish_for(self, workers: int) -> None:
        """Ask a host that runs no workers for this many."""
        _write(self._workers, str(workers))

    def wished_workers(self) -> int:
        """How many workers were asked for since the host began."""
        try:
            return int(self._workers.read_text())
        except (OSError, ValueError):
            return 0


def try_lock(path: Path, kind: int) -> int | None:
    """An open, locked descriptor (`fcntl.LOCK_SH` or `LOCK_EX`), or None when others hold the lock.

    The descriptor is closed in programs that this process starts, unless it is passed on by name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def lock(path: Path, kind: int, limit_s: float) -> int | None:
    """As `try_lock`, waiting up to `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while (descriptor := try_lock(path, kind)) is None and time.monotonic() < deadline:
        time.sleep(LOCK_POLL_S)
    return descriptor


@contextlib.contextmanager
def locked(path: Path, kind: int) -> Iterator[bool]:
    """Whether the lock could be had at once; held until the block ends."""
    descriptor = try_lock(path, kind)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
