"""Says which machine this is, so that nothing is ever compared across two.

The key tells this very machine from its twin without naming either: identities are only hashed.
It is not aware of what is measured. Used by `worker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.device import Environment
from edgepack.formats.tuning import Machine
from edgepack.runner.bench.device import Platform, read_device
from edgepack.runner.bench.system import SystemTree

#: Where systems keep what tells them apart. The last is new at every start: where there is
#: nothing else, what was measured before it is not found again.
_IDENTITIES: Final = (
    "/etc/machine-id",
    "/proc/device-tree/serial-number",
    "/sys/class/dmi/id/product_uuid",
)
_BOOT: Final = "/proc/sys/kernel/random/boot_id"
#: What decides a machine's speed and does not change by itself.
_DECIDING: Final = (
    "kernel",
    "libc",
    "arch",
    "python",
    "board",
    "cpu_model",
    "cpu_flags",
    "cores_online",
    "cores_allowed",
    "container",
    "virtualised",
    "emulated",
)
_KEY_CHARACTERS: Final = 16


def describe_machine(
    system: SystemTree, here: Platform, environment: Mapping[str, str], state: Environment
) -> Machine:
    """Reads what this machine is.

    Args:
        system: The file tree to look at.
        here: What Python says.
        environment: Environment variables.
        state: The state it is in: its governors, quota and power mode are part of the key.
    """
    device = read_device(system, here, environment)
    identities = [system.text(path) or "" for path in _IDENTITIES]
    if not any(identities):
        identities.append(system.text(_BOOT) or "")
    governors = sorted({str(each.governor) for each in (state.frequency or {}).values()})
    decides = {
        "identity": sha256_hex(canonical_json(["edgepack tune", *identities])),
        "governors": governors,
        "quota": state.cgroup_cpu_max,
        "power_mode": state.power_mode,
        **{name: getattr(device, name) for name in _DECIDING},
    }
    return Machine(sha256_hex(canonical_json(decides))[:_KEY_CHARACTERS], device)
