"""The text of a root's `bin/edgepack-runner`: the launcher under the line that names its Python.

It is not aware of roots. Used by `install` and `stage`.
"""

from __future__ import annotations

import pkgutil

from edgepack.formats.errors import BundleError

#: Source: execve(2), kernels before 5.1 read 127 bytes of the first line.
_LONGEST_INTERPRETER = 120


def launcher_text(python: str) -> bytes:
    """Returns the launcher's text.

    Args:
        python: Path of the interpreter that is to run it.

    Raises:
        BundleError: The bundle's program is not whole.
    """
    source = pkgutil.get_data("edgepack.runner.boot", "launcher.py")
    if source is None:
        raise BundleError("the bundle's program lacks its launcher")
    return shebang(python).encode() + source


def shebang(python: str) -> str:
    """Returns the launcher's first line: the Python that was checked against the target.

    A box may have several, or no `/usr/bin/env`; that one only stands in where the kernel
    cannot take the path. Isolated (`-I`) and without `site` (`-S`): neither environment
    variables nor what is installed on the box reach into the runner, and it starts sooner.

    Args:
        python: Path of the running interpreter; empty when it does not know.
    """
    plain = python.startswith("/") and not any(c.isspace() for c in python)
    if plain and len(python.encode()) <= _LONGEST_INTERPRETER:
        return f"#!{python} -IS\n"
    return "#!/usr/bin/env python3\n"
