"""A stretch of network between workers and a server, which a test can cut: packets vanish, and nobody is told."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

LOOK_S = 0.02


class TcpProxy:
    """Forwards connections to a port of loopback, in a thread of its own.

    A cut ends no connection: those that are open stay half-open for ever, as when a router forgot them, and new ones
    get no answer until the network is mended.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._forgotten: list[socket.socket] = []
        self._is_cut = False
        self._is_ending = False
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="tcp-proxy")

    def url(self, target: str) -> str:
        """The URL of the server with this proxy's port."""
        parts = urlsplit(target)
        port = self._listener.getsockname()[1]
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{self._port}", f":{port}")))

    def start(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        self._is_ending = True
        self._thread.join()
        for each in (*self._peers, *self._forgotten, self._listener):
            each.close()
        self._selector.close()

    def cut(self) -> None:
        """From now on nothing passes."""
        with self._lock:
            self._is_cut = True
            for each in self._peers:
                self._selector.unregister(each)
            self._forgotten += self._peers
            self._peers.clear()

    def mend(self) -> None:
        """New connections pass."""
        with self._lock:
            self._is_cut = False

    def _run(self) -> None:
        while not self._is_ending:
            ready = self._selector.select(LOOK_S)
            with self._lock:
                if self._is_cut:
                    continue
                for key, _ in ready:
                    self._serve(key.fileobj)

    def _serve(self, ready: object) -> None:
        if ready is self._listener:
            self._connect()
        elif isinstance(ready, socket.socket) and ready in self._peers:
            self._forward(ready)

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.setblocking(True)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, near: socket.socket) -> None:
        far = self._peers[near]
        try:
            data = near.recv(65_536)
            far.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (near, far):
                self._selector.unregister(each)
                del self._peers[each]
                each.close()


@contextmanager
def tcp_proxy(port: int) -> Iterator[TcpProxy]:
    """A running proxy, ended on leaving."""
    proxy = TcpProxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
