"""Connections that must keep a pace: a registry that drips its answer does not hold a build up.

A step alone may be short each time and the whole never end. So a request has some seconds, and
gets more only for bytes that move. It is not aware of registries. Used by `registry`.
"""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import time
import urllib.request
from typing import Any, Final

#: What a slow line carries all the same.
_BYTES_PER_S: Final = 16_000.0


class _Paced(socket.socket):
    """A socket whose time runs out; reading and writing gain some."""

    ends_at: float = float("inf")
    step_s: float = 60.0

    def recv_into(self, *args: Any) -> int:
        self._arm()
        count = super().recv_into(*args)
        self.ends_at += count / _BYTES_PER_S
        return count

    def sendall(self, data: Any, *args: Any) -> None:
        self._arm()
        super().sendall(data, *args)
        self.ends_at += len(data) / _BYTES_PER_S

    def _arm(self) -> None:
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("it is too slow")
        self.settimeout(min(left, self.step_s))


class _PacedTls(_Paced, ssl.SSLSocket):
    """The same within TLS."""


class _Connection(http.client.HTTPConnection):
    limit_s: float

    def connect(self) -> None:
        super().connect()
        plain = self.sock
        self.sock = _Paced(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._start()

    def _start(self) -> None:
        if not isinstance(self.sock, _Paced):
            raise TypeError(f"{self.sock!r} keeps no pace")
        self.sock.step_s = float(self.timeout or self.sock.step_s)
        self.sock.ends_at = time.monotonic() + self.limit_s
        self.sock.settimeout(min(self.limit_s, self.sock.step_s))


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """Connects through the class beside it first, so that the handshake has a limit as well."""

    def connect(self) -> None:
        super().connect()
        self._start()


def _connect(kind: type[_Connection], limit_s: float, host: str, **options: Any) -> _Connection:
    connection = kind(host, **options)
    connection.limit_s = limit_s
    return connection


class PacedHttp(urllib.request.HTTPHandler):
    """Opens `http:` addresses."""

    def __init__(self, limit_s: float) -> None:
        """Gives each request `limit_s` seconds, and one more for each 16 kB."""
        super().__init__()
        self._limit_s = limit_s

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Opens one."""
        return self.do_open(functools.partial(_connect, _Connection, self._limit_s), req)


class PacedHttps(urllib.request.HTTPSHandler):
    """Opens `https:` addresses."""

    def __init__(self, limit_s: float) -> None:
        """As `PacedHttp`; the certificates are the machine's."""
        self._trusted = ssl.create_default_context()
        self._trusted.set_alpn_protocols(["http/1.1"])
        self._trusted.sslsocket_class = _PacedTls
        super().__init__(context=self._trusted)
        self._limit_s = limit_s

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Opens one."""
        connection = functools.partial(_connect, _TlsConnection, self._limit_s)
        return self.do_open(connection, req, context=self._trusted)
