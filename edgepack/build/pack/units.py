"""The systemd units that travel in a bundle: one for a single model, one for several on a box.

Each leaves here with its marks still in it (`@ROOT@` and its like); `install` fills them in on
the box. It is not aware of archives. Used by the pipeline.

**Source**: systemd.service(5), systemd.exec(5), systemd.resource-control(5) of systemd 252,
which Debian 12 has: a key of a newer one would be a warning in every shop's journal.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgepack.formats.manifest import RuntimeInfo, TargetInfo
from edgepack.formats.variants import RuntimeName

#: Where the units lie in a release; `install` fills them in and puts them in the root.
UNIT_PATH = "systemd/edgepack-runner.service"
TEMPLATE_PATH = "systemd/edgepack-runner@.service"

#: Shares of the box's memory. The kernel first takes pages back from the runner, then ends it:
#: a leak must not end the shop's own programs.
_HIGH_SHARE = 0.4
_MAX_SHARE = 0.5

_HEADS = {
    UNIT_PATH: """\
# edgepack: serves the model installed in @ROOT@
#   systemctl enable --now @ROOT@/systemd/edgepack-runner.service
[Unit]
Description=edgepack runner (@ROOT@)
""",
    TEMPLATE_PATH: """\
# edgepack: serves every model that is installed below @ROOTS@, each as an instance
#   cp "@ROOT@/systemd/edgepack-runner@.service" /etc/systemd/system/
#   systemctl enable --now edgepack-runner@NAME      serves @ROOTS@/NAME
# Each needs a port of its own in NAME/state/runner.toml.
[Unit]
Description=edgepack runner (@ROOTS@/%i)
""",
}

_BODY = """\
After=network.target
# Never gives up: nobody in the shop would start it again.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
@ACCOUNT@
Environment="EDGEPACK_STATE=@STATE@"
ExecStart="@HOME@/bin/edgepack-runner" serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
# Loading and proving a large model from a slow card.
TimeoutStartSec=180
# Requests on their way get 10 seconds.
KillSignal=SIGTERM
TimeoutStopSec=20
# The daemon speaks up every 30 seconds, and only when the model has answered.
WatchdogSec=60
MemoryHigh=@MEMORY_HIGH@M
MemoryMax=@MEMORY_MAX@M
MemorySwapMax=0
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths="@STATE@"
ProtectHome=read-only
PrivateTmp=yes
PrivateMounts=yes
@DEVICES@
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_NO_DEVICES = """\
PrivateDevices=yes
ProtectClock=yes
# The CPU runtimes write no code while they run.
MemoryDenyWriteExecute=yes"""
_GPU_DEVICES = """\
# The GPU's device files stay; ProtectClock would hide them with its list of allowed devices,
# and the driver compiles kernels while it runs."""


def service_units(runtime: RuntimeInfo, target: TargetInfo) -> Mapping[str, bytes]:
    """Returns the systemd units of a release by their path in it, still with their marks.

    `install` fills in `@ROOT@`, `@ROOTS@` (the folder the root lies in), `@STATE@` and
    `@ACCOUNT@` (whom the service runs as); the result goes to `ROOT/systemd/`. The release keeps
    the marks, as its files are the same on every box.

    Args:
        runtime: A GPU's runtime needs its device files, so they are not hidden from it.
        target: Its memory is what the limits are shares of.
    """
    gpu = runtime.name is RuntimeName.ONNXRUNTIME_GPU
    words = {
        "@DEVICES@": _GPU_DEVICES if gpu else _NO_DEVICES,
        "@MEMORY_HIGH@": str(int(target.memory_mb * _HIGH_SHARE)),
        "@MEMORY_MAX@": str(int(target.memory_mb * _MAX_SHARE)),
    }
    single = {**words, "@HOME@": "@ROOT@"}
    several = {
        **words,
        "@HOME@": "@ROOTS@/%i",
        "@STATE@": "@ROOTS@/%i/state",
    }
    return {
        UNIT_PATH: _fill(_HEADS[UNIT_PATH] + _BODY, single),
        TEMPLATE_PATH: _fill(_HEADS[TEMPLATE_PATH] + _BODY, several),
    }


def _fill(text: str, words: Mapping[str, str]) -> bytes:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text.encode()
