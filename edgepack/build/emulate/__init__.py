"""Runs a release the way the box would: the target's Python, C library and CPU.

It is not aware of how a release was made. Used by the pipeline and the command line.
"""

from __future__ import annotations

from edgepack.build.emulate.doctor import Check, check_host
from edgepack.build.emulate.root import Root, RootUnavailableError, make_root
from edgepack.build.emulate.sandbox import Bind, run_in_root
from edgepack.build.emulate.verification import Verification, VerifyStatus, verify_on_target

__all__ = [
    "Bind",
    "Check",
    "Root",
    "RootUnavailableError",
    "Verification",
    "VerifyStatus",
    "check_host",
    "make_root",
    "run_in_root",
    "verify_on_target",
]
