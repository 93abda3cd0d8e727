"""The local Valkey or Redis server: one process on loopback, owned by the process that started it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from optml_queue.embedded.provider import Program
from optml_queue.errors import OptmlError
from optml_queue.lifeline import die_with_parent

HOST = "127.0.0.1"
START_LIMIT_S = 60.0  # a large append-only file takes its time to load
START_TRIES = 5
STOP_LIMIT_S = 10.0
ANSWER_LIMIT_S = 1.0
ANSWER_POLL_S = 0.005


class ServerError(OptmlError):
    """The local server did not start or did not stay."""


class LocalServer:
    """A server whose data live in `folder` (mode 0700). Reachable on loopback only, with a random password.

    The port and the password are drawn once and kept over `restart`, so clients simply connect again.
    `inherited` are file descriptors that the server keeps open as long as it lives (the host's lock).
    """

    def __init__(self, program: Program, folder: Path, inherited: Sequence[int] = ()) -> None:
        self.program = program
        self.folder = folder
        self.had_data = (folder / "appendonlydir").exists() or (folder / "appendonly.aof").exists()
        self.port = 0
        self.password = secrets.token_urlsafe(24)
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's URL with its password: for the store's settings, never for a message."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the server, 0 when it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start on a free port and wait until it answers. Raises ServerError with the server's own words."""
        for _ in range(START_TRIES):
            self.port = _free_port()
            self._launch()
            if self._await_answer():
                return
            if not self._port_was_taken():
                break
        raise ServerError(f"the local server {self.program.path} did not start:\n    {self._last_words()}")

    def restart(self) -> None:
        """Start again on the same port after the process died."""
        self._launch()
        if not self._await_answer():
            raise ServerError(f"the local server died and did not come back:\n    {self._last_words()}")

    def died(self) -> bool:
        """Whether the process ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End the server. On SIGTERM it writes and syncs its append-only file before it goes."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self) -> None:
        log = os.open(self.folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program that the table of providers found
                [self.program.path, "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,  # where its files go: no path needs quoting in the configuration
                pass_fds=self._inherited,
                umask=0o077,  # an older server lets everybody read what it writes
                # Safe: the host has one thread when it starts a server.
                preexec_fn=partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None,
            )
        finally:
            os.close(log)
        # The configuration goes through a pipe: a password must not be seen in the list of processes.
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(self._configuration().encode())

    def _configuration(self) -> str:
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            # Trials lie in hashes of up to 128 fields; Valkey 8 takes Redis 6's name for the limit, not the
            # other way round.
            "hash-max-ziplist-value 128",
        ]
        return "\n".join(lines) + "\n"

    def _await_answer(self) -> bool:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and not self.died():
            if answers(self.port, self.password):
                return True
            time.sleep(ANSWER_POLL_S)
        return False

    def _port_was_taken(self) -> bool:
        return self.died() and "in use" in self._log_text()

    def _log_text(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log_text().splitlines() if line.strip()]
        return "\n    ".join(lines[-5:]) or "it said nothing"


def answers(port: int, password: str) -> bool:
    """Whether a server on loopback accepts the password and says PONG (not while it loads its data)."""
    # Spoken by hand: importing a client library would cost more than starting the server does.
    request = f"AUTH {password}\r\nPING\r\n".encode()
    reply = b""
    try:
        with socket.create_connection((HOST, port), ANSWER_LIMIT_S) as connection:
            connection.sendall(request)
            while reply.count(b"\r\n") < 2:
                received = connection.recv(256)
                if not received:
                    break
                reply += received
    except OSError:
        return False
    return reply == b"+OK\r\n+PONG\r\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
