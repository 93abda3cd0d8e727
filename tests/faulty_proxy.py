"""A proxy before an HTTP service that a test can break: it refuses, or takes its time, until it is mended."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CODES = {403: "AccessDenied", 404: "NoSuchBucket", 500: "InternalError", 503: "SlowDown"}
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that went away are no news."""


class FaultyProxy:
    """Forwards to `target`. While `status` is set, every request is answered with it, as S3 words its errors.

    While `is_slow`, no request is answered.
    """

    def __init__(self, target: str) -> None:
        self.status: int | None = None
        self.refused = 0
        self.held = 0
        self._quick = threading.Event()
        self._quick.set()
        self.forwarded = 0
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faulty-proxy")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    @property
    def is_slow(self) -> bool:
        return not self._quick.is_set()

    @is_slow.setter
    def is_slow(self, value: bool) -> None:
        (self._quick.clear if value else self._quick.set)()

    def hold(self) -> None:
        """Wait while it is slow."""
        self.held += self.is_slow
        self._quick.wait()

    def stop(self) -> None:
        self._quick.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # clients of S3 wait a second for "100 Continue" otherwise

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.hold()
                if proxy.status is not None:
                    proxy.refused += 1
                    self.refuse(proxy.status)
                else:
                    proxy.forwarded += 1
                    self.forward(body)

            def refuse(self, status: int) -> None:
                code = CODES[status]
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by a test</Message></Error>".encode()
                self.reply(status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text)

            def forward(self, body: bytes) -> None:
                upstream = http.client.HTTPConnection(*proxy._target, timeout=30)
                try:
                    kept = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                    upstream.request(self.command, self.path, body, kept)
                    reply = upstream.getresponse()
                    answered = [(name, value) for name, value in reply.getheaders() if name.lower() not in HOP_BY_HOP]
                    self.reply(reply.status, answered, reply.read())
                finally:
                    upstream.close()

            def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() != "content-length" or self.command == "HEAD":
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 -- the names that http.server calls

        return Handler


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """A running proxy, ended on leaving."""
    proxy = FaultyProxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
