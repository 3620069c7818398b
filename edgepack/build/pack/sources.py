"""The parts of edgepack itself that travel: the bundle's program, the runner, the service unit.

They are read as data through `importlib.resources`, from a checkout or a wheel alike; the
runner is never imported here. It is not aware of archives. Used by `bundle` and the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from edgepack.formats.bundle import MAIN_MEMBER
from edgepack.formats.manifest import RuntimeInfo
from edgepack.formats.variants import RuntimeName

#: Where the service unit lies in a release; `install` fills it in and puts it in the root.
UNIT_PATH = "systemd/edgepack-runner.service"
_ENTRY = "runner/boot/entry.py"

_UNIT = """\
# edgepack: serves the model installed in @ROOT@
# systemctl enable --now @ROOT@/systemd/edgepack-runner.service
[Unit]
Description=edgepack runner (@ROOT@)
After=network.target
StartLimitIntervalSec=0

[Service]
Type=simple
User=@USER@
Environment="EDGEPACK_STATE=@STATE@"
ExecStart="@ROOT@/bin/edgepack-runner" serve
Restart=on-failure
RestartSec=2
UMask=0077
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
%DEVICES%PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths="@STATE@"
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


def program_files() -> Mapping[str, bytes]:
    """Returns the bundle's own program by member name, `__main__.py` included."""
    package = files("edgepack")
    members = {MAIN_MEMBER: package.joinpath(_ENTRY).read_bytes()}
    for name in ("__init__.py", "runner/__init__.py"):
        members[f"edgepack/{name}"] = package.joinpath(name).read_bytes()
    for folder in ("formats", "runner/boot"):
        for path, data in _walk(package.joinpath(folder), folder):
            if path != _ENTRY:
                members[f"edgepack/{path}"] = data
    return members


def runner_files() -> Mapping[str, bytes]:
    """Returns the runner's sources by their path in a release.

    `edgepack.formats` and `edgepack.runner` with everything below them, the bundle's program
    too: the runner installs updates with it.
    """
    package = files("edgepack")
    found = {"runner/edgepack/__init__.py": package.joinpath("__init__.py").read_bytes()}
    for folder in ("formats", "runner"):
        for path, data in _walk(package.joinpath(folder), folder):
            found[f"runner/edgepack/{path}"] = data
    return found


def service_unit(runtime: RuntimeInfo) -> bytes:
    """Returns the systemd unit of a release, still with its placeholders.

    `@ROOT@`, `@STATE@` and `@USER@` (the owner of the state directory) are filled in by
    `install`, which writes the result to `ROOT/systemd/`; the release keeps the template, as
    its files are the same on every box.

    Args:
        runtime: A GPU's runtime needs its device files, so they are not hidden from it.
    """
    gpu = runtime.name is RuntimeName.ONNXRUNTIME_GPU
    return _UNIT.replace("%DEVICES%", "" if gpu else "PrivateDevices=yes\n").encode()


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        place = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, place)
        elif entry.name.endswith(".py"):
            yield place, entry.read_bytes()
