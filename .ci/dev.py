#!/usr/bin/env python3
"""Sets a checkout up and runs edgepack or its tests in it; standard library only.

    python3 .ci/dev.py build --target arm64     any edgepack command
    python3 .ci/dev.py test                     every check and test, as CI runs them

The first call makes a virtual environment (.venv, or EDGEPACK_VENV) with the locked packages
and, as root on a Debian-like machine, installs the system packages; elsewhere it names them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("EDGEPACK_VENV", ROOT / ".venv"))
LOCK = ROOT / ".ci" / "requirements.lock"
STAMP = VENV / ".edgepack-set-up"

#: What proving a variant on a foreign CPU needs.
APT_PACKAGES = ("arch-test", "bubblewrap", "mmdebstrap", "qemu-user-static")
#: So many tests run at once: most of them wait for a process of their own.
TEST_WORKERS = 2
#: What only the tests need: container images and a registry, a browser, certificates, wrong
#: clocks, a service manager, a load, small disks, a stand-in for a driver's library, a database
#: server.
TEST_APT_PACKAGES = (
    *("buildah", "chromium", "curl", "docker-registry", "faketime", "gcc", "libc6-dev"),
    *("mount", "openssl", "postgresql", "procps", "systemd", "wrk"),
)


def main(arguments: list[str]) -> int:
    """Sets up what is missing and runs the command; returns its exit status."""
    if sys.version_info < (3, 11):
        print(f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
        return 4
    if not arguments:
        print(__doc__)
        return 2
    try:
        testing = arguments[0] == "test"
        install_system_packages((*APT_PACKAGES, *(TEST_APT_PACKAGES if testing else ())))
        make_environment()
    except SetUpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    if arguments[0] == "test":
        return run_tests(arguments[1:])
    return subprocess.call([VENV / "bin" / "edgepack", *arguments])


class SetUpError(Exception):
    """Something is missing that this script cannot install itself."""


def install_system_packages(packages: tuple[str, ...]) -> None:
    """Installs the system packages that are missing, or says how to."""
    missing = [name for name in packages if not is_installed(name)]
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        print(f"note: not installed here: {', '.join(missing)}", file=sys.stderr)
    elif os.geteuid() != 0:
        note = f"note: to prove variants on ARM and run every test, run once: sudo {command}"
        print(note, file=sys.stderr)
    else:
        apt_install(missing)


def apt_install(packages: list[str]) -> None:
    """Installs Debian packages as root."""
    print(f"installing {', '.join(packages)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    call(["apt-get", "update", "-q"], env=environment)
    call(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], env=environment)


def is_installed(package: str) -> bool:
    """Whether dpkg knows a package as installed."""
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.stdout == "installed"


def make_environment() -> None:
    """Makes the virtual environment with the locked packages, once for each lock."""
    inputs = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), sys.version.encode()]
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    if not (VENV / "bin" / "python").exists() or not has_pip():
        create_venv()
    python = str(VENV / "bin" / "python")
    print(f"installing the locked packages into {VENV.name}", file=sys.stderr)
    pin = next(line for line in LOCK.read_text().splitlines() if line.startswith("uv=="))
    call([python, "-m", "pip", "install", "--quiet", pin.split()[0]])
    installer = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    call([*installer, "--require-hashes", "--requirement", str(LOCK)])
    call([*installer, "--no-deps", "--editable", str(ROOT)])
    STAMP.write_text(wanted)


def has_pip() -> bool:
    """Whether the environment's interpreter works and has pip."""
    probe = [VENV / "bin" / "python", "-m", "pip", "--version"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def create_venv() -> None:
    """Makes an empty virtual environment; Debian keeps what that needs in python3-venv."""
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(command, check=False, capture_output=True).returncode == 0:
        return
    package = "python3-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetUpError(f"python3 has no venv module; run once: sudo apt-get install {package}")
    apt_install([package])
    call(command)


def run_tests(arguments: list[str]) -> int:
    """Runs every check, then pytest, whose closing line comes last."""
    bin_dir = VENV / "bin"
    failed = []
    if not arguments:
        arguments = ["-n", str(TEST_WORKERS)]
        for check in (
            ["ruff", "check"],
            ["ruff", "format", "--check"],
            ["mypy"],
            ["lint-imports"],
            ["codespell"],
        ):
            print(f"$ {' '.join(check)}", flush=True)
            if subprocess.call([bin_dir / check[0], *check[1:]], cwd=ROOT) != 0:
                failed.append(" ".join(check))
    print("$ pytest", *arguments, flush=True)
    status = subprocess.call([bin_dir / "python", "-m", "pytest", *arguments], cwd=ROOT)
    if failed:
        print(f"error: failed before the tests: {', '.join(failed)}", file=sys.stderr)
        return 1
    return status


def call(command: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a set-up step; a failure names the command."""
    if subprocess.call(command, env=env) != 0:
        raise SetUpError(f"this set-up step failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
