"""Passes the listening socket on to the process that takes this one's place.

It is systemd's protocol for passed sockets, so a socket unit works as well: the socket is file
descriptor 3, `LISTEN_FDS` says how many there are and `LISTEN_PID` for whom. It is not aware of
HTTP. Used by `serve`.

Source: sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from edgepack.formats.errors import ConfigError, DeviceError

_FIRST_FD = 3
Execute = Callable[[str, list[str], Mapping[str, str]], NoReturn]


def inherited_socket(environment: Mapping[str, str], process_id: int) -> socket.socket | None:
    """Takes over the socket that was passed to this process.

    Args:
        environment: The process's environment variables.
        process_id: This process.

    Returns:
        The listening socket, or None when none was passed.

    Raises:
        ConfigError: What was passed is not one listening TCP socket.
    """
    if environment.get("LISTEN_PID") != str(process_id):
        return None
    if environment.get("LISTEN_FDS") != "1":
        raise ConfigError(
            f"LISTEN_FDS is {environment.get('LISTEN_FDS')}, expected 1",
            hint="the daemon serves one port: pass it one socket",
        )
    try:
        passed = socket.socket(fileno=_FIRST_FD)
        listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"file descriptor 3 is not a socket: {error}") from error
    if not listening or passed.type != socket.SOCK_STREAM:
        raise ConfigError("file descriptor 3 is not a listening stream socket")
    os.set_inheritable(passed.fileno(), False)
    passed.setblocking(False)
    return passed


def replace_process(
    launcher: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    listener: socket.socket,
    execute: Execute = os.execve,
) -> NoReturn:
    """Becomes the program of the release that is current now, with the same port.

    The process id stays, so a service manager sees no end; connections that come meanwhile wait
    in the socket's queue.

    Args:
        launcher: `ROOT/bin/edgepack-runner`.
        arguments: Its arguments.
        environment: Its environment variables.
        listener: The listening socket.
        execute: The system's call.

    Raises:
        DeviceError: The launcher cannot be run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if listener.fileno() == _FIRST_FD:
        os.set_inheritable(_FIRST_FD, True)
    else:
        os.dup2(listener.fileno(), _FIRST_FD, inheritable=True)
    passed = {**environment, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    try:
        execute(str(launcher), [str(launcher), *arguments], passed)
    except OSError as error:
        raise DeviceError(
            f"{launcher} cannot be run: {error.strerror or error}",
            hint="install the bundle again",
        ) from error
