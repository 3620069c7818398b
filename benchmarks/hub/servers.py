"""Starts what is measured: hubs on loopback, and nginx before them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.hubs import free_port

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port on loopback and its first process."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """The CPU time that it and its children have taken."""
        first = psutil.Process(self.pid)
        found = 0.0
        for each in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                found += times.user + times.system
        return found


@contextlib.contextmanager
def hub_serving(store: str, folder: Path, *arguments: str) -> Iterator[Server]:
    """Runs one process of `edgepack hub serve` on a store."""
    port = free_port()
    command = [sys.executable, "-m", "edgepack.cli.main", "hub", "serve"]
    command += ["--store", store, "--port", str(port), *arguments]
    with _running(command, folder / f"hub-{port}.log", port, "/healthz") as server:
        yield server


@contextlib.contextmanager
def nginx_serving(program: Path, folder: Path, ports: Sequence[int]) -> Iterator[Server]:
    """Runs nginx as a load balancer before some ports."""
    port = free_port()
    servers = "\n".join(f"    server 127.0.0.1:{each};" for each in ports)
    configuration = folder / f"nginx-{port}.conf"
    # As root its workers would be another user's and could not write here.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(f"""
daemon off;
worker_processes 1;
pid {folder}/nginx-{port}.pid;
error_log {folder}/nginx-{port}.log;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream hub {{
{servers}
    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 32m;
    client_body_buffer_size 128k;
    location / {{
      proxy_pass http://hub;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
  }}
}}
""")
    command = [str(program), "-c", str(configuration), "-p", str(folder)]
    with _running(command, folder / f"nginx-{port}.out", port, "/healthz") as server:
        yield server


def unpack_nginx(folder: Path) -> Path:
    """Fetches Debian's package of nginx and unpacks it, once; nothing is installed.

    Installing it would start a server on every address of the machine.
    """
    program = folder / "nginx" / "usr" / "sbin" / "nginx"
    if not program.exists():
        place = folder / "nginx"
        place.mkdir(parents=True, exist_ok=True)
        download = ["apt-get", "download", "-q", "nginx"]
        if subprocess.run(download, cwd=place, capture_output=True, check=False).returncode != 0:
            subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
            subprocess.run(download, cwd=place, check=True, capture_output=True)
        (package,) = place.glob("nginx_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(place)], check=True, capture_output=True)
    return program


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path, port: int, path: str) -> Iterator[Server]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"error: {Path(command[0]).name} did not start:\n{said}")
            time.sleep(0.05)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def _answers(port: int, path: str) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer,
    ):
        return bool(answer.status == 200)
    return False
