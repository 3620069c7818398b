"""A real nginx with the file of deploy/nginx, on this machine's free ports."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tests.deploy.manifests import DEPLOY
from tests.e2e.hubs import free_port

_MAIN = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/edgepack-hub.conf;
}}
"""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        tls: The port of what it says with TLS.
        plain: The port without.
        certificate: To trust.
    """

    tls: int
    plain: int
    certificate: Path

    def connect(self, source: str = "127.0.0.1") -> http.client.HTTPSConnection:
        """Makes a connection with TLS.

        Args:
            source: The address of this machine's that the client has.
        """
        context = ssl.create_default_context(cafile=str(self.certificate))
        return http.client.HTTPSConnection(
            "127.0.0.1", self.tls, timeout=60, context=context, source_address=(source, 0)
        )

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Asks over TLS, on a connection of its own."""
        return ask(self.connect(), method, path, body, headers)

    def send_plain(self, method: str, path: str) -> Answer:
        """Asks without TLS."""
        return ask(http.client.HTTPConnection("127.0.0.1", self.plain, timeout=60), method, path)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    keep: bool = False,
) -> Answer:
    """Sends a request for `hub.example` and reads the answer.

    Args:
        connection: Where to.
        method: The method.
        path: The path.
        body: What is sent.
        headers: More of them.
        keep: Whether the connection stays open.
    """
    with contextlib.ExitStack() as stack:
        if not keep:
            stack.enter_context(contextlib.closing(connection))
        connection.request(method, path, body, {"Host": "hub.example", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


@contextlib.contextmanager
def nginx_running(program: Path, folder: Path, processes: tuple[int, int]) -> Iterator[Nginx]:
    """Runs nginx before two processes.

    Args:
        program: `nginx`.
        folder: An empty one, for its files.
        processes: The ports of what is behind it.
    """
    ports = free_port(), free_port()
    _lay_out(folder, ports, processes)
    command = [str(program), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    command += ["-e", str(folder / "start.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    process = subprocess.Popen(command)
    try:
        _wait_for(ports[0])
        yield Nginx(*ports, folder / "hub.crt")
    finally:
        process.terminate()
        process.wait(30)


def _lay_out(folder: Path, ports: tuple[int, int], processes: tuple[int, int]) -> None:
    """Writes the shipped file for this machine's ports, and makes its certificate."""
    names = "subjectAltName=IP:127.0.0.1,DNS:hub.example"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=hub.example", "-addext", names, "-keyout", "hub.key", "-out", "hub.crt"]
    subprocess.run(make, cwd=folder, check=True, capture_output=True)
    text = (DEPLOY / "nginx" / "edgepack-hub.conf").read_text(encoding="utf-8")
    text = re.sub(r"\n *listen \[::\].*", "", text)
    for shipped, here in (
        ("listen 80;", f"listen 127.0.0.1:{ports[1]};"),
        ("listen 443 ", f"listen 127.0.0.1:{ports[0]} "),
        ("/etc/edgepack/tls", str(folder)),
        ("127.0.0.1:8090", f"127.0.0.1:{processes[0]}"),
        ("127.0.0.1:8091", f"127.0.0.1:{processes[1]}"),
    ):
        assert text.count(shipped) > 0, shipped
        text = text.replace(shipped, here)
    # Else its worker may not write large bodies into a folder of this user's.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "edgepack-hub.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user), encoding="utf-8")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "nginx does not listen"
        time.sleep(0.05)
