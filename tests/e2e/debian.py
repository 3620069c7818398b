"""Programs from Debian's packages, unpacked beside the tests: nothing is installed.

Installing a server's package would start it on every address of the machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def unpack_package(name: str, folder: Path) -> Path:
    """Fetches a Debian package and unpacks it.

    Args:
        name: The package's name.
        folder: Where; it is there.

    Returns:
        The folder, which is the root of the package's files.
    """
    download = ["apt-get", "download", "-q", name]
    if subprocess.run(download, cwd=folder, capture_output=True, check=False).returncode != 0:
        # A new machine has no list of packages yet.
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(download, cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob(f"{name}_*.deb")
    subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True)
    return folder
