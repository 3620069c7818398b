"""A report receiver on loopback that can be slow, busy, lying or gone."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message

#: What a hub does with one POST, on the handler; the body has been read.
Behaviour = Callable[["Handler"], None]


@dataclass
class Hub:
    """A running receiver.

    Attributes:
        url: Where it listens.
        posts: Headers and body of every POST, in order of arrival.
        script: What it does with the next POSTs; the last one is done for ever.
        arrived: Set with every POST.
    """

    url: str
    script: list[Behaviour]
    posts: list[tuple[Message, bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)

    def ids(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.posts]


class Handler(http.server.BaseHTTPRequestHandler):
    """One POST."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        hub = server.hub
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            hub.posts.append((self.headers, body))
            behaviour = hub.script.pop(0) if len(hub.script) > 1 else hub.script[0]
        hub.arrived.set()
        self.close_connection = True
        # A client that has hung up is what some of these do.
        with contextlib.suppress(OSError):
            behaviour(self)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        pass


def answering(status: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    """Answers with a status, a body and more headers (`_` for `-`)."""

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def dripping(head: bytes, step_s: float = 0.05) -> Behaviour:
    """Sends some bytes and then one more now and then, for ever."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(head)
        while True:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            threading.Event().wait(step_s)

    return behave


def sending(data: bytes) -> Behaviour:
    """Sends raw bytes and hangs up."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(data)

    return behave


def silent_until(released: threading.Event) -> Behaviour:
    """Takes the report and says nothing until it is let go."""

    def behave(handler: Handler) -> None:
        released.wait(60)

    return behave


@contextlib.contextmanager
def running_hub(
    *script: Behaviour, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Hub]:
    """Starts a hub; it is gone after the context."""
    server = _Server(port)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    hub = Hub(f"{scheme}://127.0.0.1:{server.server_port}/reports", list(script))
    server.hub = hub
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
