"""A real PostgreSQL from Debian's package: a cluster of its own in a folder of its own.

It listens on no port, only on a socket in that folder, and is gone after the context. As root
everything of it runs as the user `postgres`, which the package makes; it refuses to run as root.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

_USER = "edgepack"
_START_S = 60.0


def postgresql_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest version's; None: not installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    if found:
        return found[-1].parent
    elsewhere = shutil.which("postgres")
    return None if elsewhere is None else Path(elsewhere).resolve().parent


@dataclass
class PostgreSQL:
    """A cluster; its server runs between `start` and `stop` or `kill`.

    Attributes:
        programs: Where its programs lie.
        folder: Its own; holds `data`, the socket and `log`.
    """

    programs: Path
    folder: Path
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, as `edgepack hub --store` takes it."""
        return f"postgresql://{_USER}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Makes an empty database and returns its address."""
        name = f"hub{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    @property
    def pid(self) -> int:
        """Its first process, the parent of all others."""
        assert self._process is not None, "PostgreSQL is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Starts the server and waits until it takes connections, after a kill too."""
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            assert time.monotonic() < deadline, f"PostgreSQL does not start:\n{self.log[-2000:]}"
            # It gives up while a process of a killed server still holds the shared memory.
            if self._process is None or self._process.poll() is not None:
                self._launch()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server, cutting its connections."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kills the server's first process with SIGKILL; the others notice and end."""
        self._end(signal.SIGKILL)

    def _launch(self) -> None:
        command = [*_as_user(), str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def _is_ready(self) -> bool:
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self.url(), connect_timeout=5),
        ):
            return True
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


@contextlib.contextmanager
def postgresql_running(programs: Path) -> Iterator[PostgreSQL]:
    """Makes a cluster and runs its server; with `fsync`, as a person would run it."""
    # Not under pytest's folder, which only its own user may enter.
    with tempfile.TemporaryDirectory(prefix="edgepack-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        command = [*_as_user(), str(programs / "initdb"), "-D", str(folder / "data")]
        command += ["-U", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)
        server = PostgreSQL(programs, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]
