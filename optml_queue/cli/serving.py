"""The verbs that serve: api, monitor, and up, which starts everything."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optml_queue.cli import options
from optml_queue.errors import InputError, OptmlError

if TYPE_CHECKING:
    from optml_queue.cli.connection import Connection
    from optml_queue.settings import Settings
    from optml_queue.store import Store

MONITOR_PORT = 5555
MONITOR_USER = "optml"
OWN_TOKEN = "optml-up"  # noqa: S105 - its name; made anew each time, and revoked at the end
END_LIMIT_S = 15.0
FLOWER_END_LIMIT_S = 2.0  # it keeps nothing, and without its broker it would wait for long
WATCH_S = 1.0

Host = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on (default: loopback).", show_default=False),
]
Port = Annotated[
    int | None, typer.Option("--port", metavar="N", min=0, max=65_535, help="Port to listen on.", show_default=False)
]


def api(host: Host = None, port: Port = None, results: options.Results = None) -> None:
    """Serve the REST API and the page, in the foreground.

    It listens on OPTML_API_HOST and OPTML_API_PORT, by default 127.0.0.1:8000, and beyond loopback only when there is
    a token. Any number of them may run; put TLS and a load balancer in front.

    Examples
      optml api
      optml api --host 0.0.0.0 --port 8000
      optml token create alice --role operator      who may come in
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import say

    with steering(results) as connection:
        configured = settings_of(connection)
        where = host or configured.api_host
        refuse_without_tokens(connection.store, where)
        listener = listen(where, configured.api_port if port is None else port)
        say(f"API at {address_of(listener)}, its documentation at {address_of(listener)}/docs")
        if not _has_tokens(connection.store):
            say("there is no token yet, so nobody may come in: optml token create NAME --role operator")
        serve(configured, listener)


def monitor(host: Host = None, port: Port = None, results: options.Results = None) -> None:
    """Serve Flower, Celery's monitor, in the foreground.

    It shows trials as workers report them, so workers must run with OPTML_EVENTS=true: that costs about an eighth of
    the throughput of very short trials. OPTML_MONITOR_AUTH is USER:PASSWORD; without it, one is made and printed.
    Over SQS, events go through the store's server.

    Examples
      optml monitor
      OPTML_MONITOR_AUTH=ada:secret optml monitor --port 5556
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import say
    from optml_queue.worker.monitor import serve_monitor

    with steering(results) as connection:
        configured = settings_of(connection)
        where = host or "127.0.0.1"
        with listen(where, MONITOR_PORT if port is None else port) as listener:
            number = listener.getsockname()[1]  # Flower binds it anew
        auth = configured.monitor_auth
        if auth is None:
            auth = f"{MONITOR_USER}:{secrets.token_urlsafe(12)}"
            say(f"sign in as {auth.replace(':', ' with ')}")
        say(f"Flower at http://{where}:{number}")
        serve_monitor(configured, where, number, auth)


def up(
    workers: options.Workers = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start server and workers only, leave them running and return.")
    ] = False,
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Start everything on this machine: server, workers, API, page and Flower; Ctrl-C ends it all.

    It prints the addresses and a token to sign in with. Ports are 8000 and 5555, or free ones when those are taken.
    What optml-submit starts in this folder meanwhile runs here. With --detach, server and workers stay until optml
    down, or for ten minutes without work.

    Examples
      optml up
      optml up --workers 4
      optml up --detach
    """
    from optml_queue.cli.connection import results_folder

    folder = results_folder(results)
    if detach:
        _leave_running(folder, workers, as_json=as_json)
    else:
        _serve_all(folder, workers, as_json=as_json)


def _leave_running(folder: Path, workers: int | None, *, as_json: bool) -> None:
    from optml_queue import embedded
    from optml_queue.cli.terminal import show, show_json
    from optml_queue.settings import settings

    record = embedded.up(folder, workers, archive_url=settings().archive_url or "")
    if as_json:
        show_json(
            {"results": str(folder.absolute()), "port": record.port, "pid": record.pid, "version": record.version}
        )
    else:
        show(f"local server on port {record.port}, results in {folder}. End it: optml down.")


def _serve_all(folder: Path, workers: int | None, *, as_json: bool) -> None:
    from optml_queue import embedded
    from optml_queue.cli.connection import steering
    from optml_queue.embedded.folder import StoreFolder
    from optml_queue.store.tokens import Role, Tokens

    # The host is a process of its own and inherits this: its workers tell Flower what they do.
    os.environ.setdefault("OPTML_EVENTS", "true")
    with steering(folder, workers=workers) as connection:
        configured = settings_of(connection)
        tokens = Tokens(connection.store)
        with suppress(InputError):
            tokens.revoke(OWN_TOKEN)  # of one that was killed
        token, _ = tokens.create(OWN_TOKEN, Role.OPERATOR)
        listener = listen(configured.api_host, configured.api_port, or_any=True)
        with listen("127.0.0.1", MONITOR_PORT, or_any=True) as free:
            monitor_port = free.getsockname()[1]
        auth = configured.monitor_auth or f"{MONITOR_USER}:{secrets.token_urlsafe(12)}"
        addresses = {"api": address_of(listener), "monitor": f"http://127.0.0.1:{monitor_port}"}
        _tell(folder, addresses, token, auth, as_json=as_json)
        place = StoreFolder(folder)
        place.write_addresses(addresses)
        try:
            with _flower(folder, monitor_port, auth):
                links = {"monitor_url": configured.monitor_url or _monitor_address(addresses["monitor"])}
                serve(configured.model_copy(update=links), listener, until=lambda: not embedded.is_running(folder))
        finally:
            place.forget_addresses()
            with suppress(OptmlError):
                tokens.revoke(OWN_TOKEN)
    _await_end(folder)


def _tell(folder: Path, addresses: Mapping[str, str], token: str, auth: str, *, as_json: bool) -> None:
    from optml_queue.cli.terminal import show, show_json

    user, _, password = auth.partition(":")
    if as_json:
        show_json({"results": str(folder.absolute()), **addresses, "token": token, "monitor_auth": auth})
    else:
        show(
            f"page and API   {addresses['api']}",
            f"sign in with   {token}",
            f"Flower         {addresses['monitor']}  (user {user}, password {password})",
            f"results        {folder}",
            "Ctrl-C ends all of it; what runs then goes back to the queue.",
        )
    sys.stdout.flush()


@contextmanager
def _flower(folder: Path, port: int, auth: str) -> Iterator[None]:
    """Flower as a process of its own, for as long as the block lasts; nothing where it is not installed."""
    from importlib.util import find_spec

    from optml_queue.cli.terminal import say
    from optml_queue.lifeline import die_with_parent

    if find_spec("flower") is None:
        say("Flower is not installed; pip install 'optml-queue[monitor]'")
        yield
        return
    command = [sys.executable, "-P", "-c", "from optml_queue.cli.main import main; main()", "monitor"]
    parent = os.getpid()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
        [*command, "--port", str(port), "--results", str(folder)],
        env={**os.environ, "OPTML_MONITOR_AUTH": auth},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: die_with_parent(parent),
        start_new_session=True,  # Ctrl-C in the terminal is for us; we end it in good order
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(FLOWER_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _monitor_address(address: str) -> str | None:
    """Where the page says that Flower is; None where it is not installed."""
    from importlib.util import find_spec

    return address if find_spec("flower") else None


def _await_end(folder: Path) -> None:
    """Return when the host has gone: it ends with its last client. Others may have come; then it stays."""
    from optml_queue.embedded import is_running

    deadline = time.monotonic() + END_LIMIT_S
    while is_running(folder) and time.monotonic() < deadline:
        time.sleep(0.1)


# Serving


def settings_of(connection: Connection) -> Settings:
    """The settings under which a process serves what `connection` reaches."""
    from optml_queue.settings import settings

    configured = settings()
    if connection.session is None:
        return configured
    places: dict[str, Any] = {"broker_url": connection.session.url, "store_url": connection.session.url}
    places["archive_url"] = connection.archive_url
    if "allow_programs" not in configured.model_fields_set:
        places["allow_programs"] = True  # as for the local workers: who signs in here could run their code without us
    return configured.model_copy(update=places)


def refuse_without_tokens(store: Store, host: str) -> None:
    """Raises InputError when others than this machine's users could connect, and nobody was given a token."""
    if not is_loopback(host) and not _has_tokens(store):
        raise InputError(
            f"--host: {host} can be reached from other machines, and there is no token yet.\n"
            "    Make one first: optml token create NAME --role operator."
        )


def _has_tokens(store: Store) -> bool:
    from optml_queue.store.tokens import Tokens

    return Tokens(store).any_valid()


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address; a name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int, *, or_any: bool = False) -> socket.socket:
    """A socket that listens; on any free port where `or_any` says so and that one is taken. Raises InputError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: each answer would else take
    # 40 ms more, the time in which a client may hold its acknowledgement back.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if or_any and port:
            return listen(host, 0)
        reason = error.strerror or str(error)
        raise InputError(f"cannot listen on {host}:{port}: {reason}; choose another with --port") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of what listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(configured: Settings, listener: socket.socket, until: Any = None) -> None:
    """Serve the API until SIGINT, SIGTERM, or `until()` is true."""
    try:
        import uvicorn

        from optml_queue.api import create_app
    except ImportError as error:
        raise InputError(f"the API needs {error.name}; pip install 'optml-queue[api]'") from None
    # What tokens did is said on stderr; requests as such are the business of a proxy's log.
    logging.basicConfig(format="%(asctime)s %(levelname)-7s api: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("optml_queue.audit").setLevel(logging.INFO)
    config = uvicorn.Config(
        create_app(configured),
        log_config=None,
        access_log=False,
        server_header=False,
        # Streams of events never end by themselves.
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    if until is not None:
        threading.Thread(target=_watch, args=(server, until), daemon=True).start()
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has ended in good order
        server.run(sockets=[listener])


def _watch(server: Any, until: Any) -> None:
    while not until():
        time.sleep(WATCH_S)
    server.should_exit = True
