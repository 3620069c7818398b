"""Keeps OpenSSL out of a process that does not need it: 4 MB and 15 ms on every start.

asyncio imports `ssl`, and `hashlib` its own binding, whether or not anybody speaks TLS; both do
without when the import fails. It is not aware of settings. Used by `serve`, before anything
imports asyncio.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_BINDINGS = ("ssl", "_hashlib")
_IMPORTERS = ("hashlib", "hmac", "asyncio")


def import_without_openssl(
    bindings: Sequence[str] = _BINDINGS, importers: Sequence[str] = _IMPORTERS
) -> None:
    """Imports asyncio and hashlib as on a Python that was built without OpenSSL.

    What wants TLS later, such as sending a report, imports `ssl` as ever; `hashlib` uses
    Python's own SHA-256 in this process. A module that is loaded already stays as it is.

    Args:
        bindings: Modules that are not to be found meanwhile.
        importers: Modules that are imported meanwhile.
    """
    absent = [name for name in bindings if name not in sys.modules]
    try:
        for name in absent:
            # What the import system takes for "there is no such module".
            sys.modules[name] = None  # type: ignore[assignment]
        for name in importers:
            importlib.import_module(name)
    finally:
        for name in absent:
            del sys.modules[name]
