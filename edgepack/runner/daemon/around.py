"""What the daemon is given. Used by the modules of `edgepack.runner.daemon`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepack.runner.clock import Clock
from edgepack.runner.log import Log
from edgepack.runner.notify import Supervisor
from edgepack.runner.settings import Settings
from edgepack.runner.state import BoxPaths


@dataclass(frozen=True, slots=True)
class Around:
    """Everything around the daemon.

    Attributes:
        paths: The box's folders.
        settings: What was asked for, by file and command line.
        clock: Times the engine and the answers.
        log: Gets one line for each thing that happens.
        supervisor: The service manager.
        environment: The process's environment variables.
        arguments: The program's arguments, for a process that takes this one's place.
    """

    paths: BoxPaths
    settings: Settings
    clock: Clock
    log: Log
    supervisor: Supervisor
    environment: Mapping[str, str]
    arguments: Sequence[str]
