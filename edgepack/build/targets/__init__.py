"""Targets: kinds of box as data, their pinned wheels, and the site those make.

It is not aware of models. Used by the rest of the build side and by the command line.
"""

from __future__ import annotations

from edgepack.build.targets.find import list_targets, load_target
from edgepack.build.targets.lock import (
    Lock,
    LockedWheel,
    check_lock,
    current_lock,
    load_lock,
    make_lock,
    write_lock,
)
from edgepack.build.targets.site import Site, Wheel, make_site
from edgepack.build.targets.target import RUNNER_REQUIREMENTS, Runtime, Target

__all__ = [
    "RUNNER_REQUIREMENTS",
    "Lock",
    "LockedWheel",
    "Runtime",
    "Site",
    "Target",
    "Wheel",
    "check_lock",
    "current_lock",
    "list_targets",
    "load_lock",
    "load_target",
    "make_lock",
    "make_site",
    "write_lock",
]
