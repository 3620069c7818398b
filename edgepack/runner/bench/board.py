"""What boards tell in their own ways: whether they slow themselves down, and their power mode.

It is not aware of what it means for trust beyond telling a state from a counter. Used by
`environment` and `trust`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from edgepack.formats.device import Throttle
from edgepack.runner.bench.system import SystemTree

#: The Raspberry Pi firmware's flags, hexadecimal: under-voltage, frequency capped, throttled and
#: soft temperature limit now (bits 0 to 3) and since boot (bits 16 to 19).
#: Source: the Raspberry Pi documentation of `vcgencmd get_throttled`; raspberrypi/linux#2397.
PI_FLAGS: Final = "raspberrypi get_throttled"
PI_NOW: Final = 0x0000F
PI_UNDER_VOLTAGE_NOW: Final = 0x00001
PI_SINCE_BOOT: Final = 0xF0000
#: The alarm of the hwmon driver that newer Raspberry Pi kernels have instead of that file.
#: Source: linux, drivers/hwmon/raspberrypi-hwmon.c.
PI_VOLTAGE_ALARM: Final = "rpi_volt in0_lcrit_alarm"
#: Cooling by slowing down; an idle fan or a backlight slows nothing.
_SLOWING: Final = ("cpu", "processor", "throttle-alert")
_COUNTERS: Final = ("core_throttle_count", "package_throttle_count")
_MODE = re.compile(r"pmode:0*(\d+)")
_MODE_NAMES = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")


class ThrottleKind(StrEnum):
    """What a throttle value is: flags in bits, a state that holds now, or a counter."""

    FLAGS = "flags"
    STATE = "state"
    ALARM = "alarm"
    COUNTER = "counter"


def throttle_kind(throttle: Throttle) -> ThrottleKind:
    """Says how a throttle value is to be read, from where it was read."""
    if throttle.source == PI_FLAGS:
        return ThrottleKind.FLAGS
    if throttle.source == PI_VOLTAGE_ALARM:
        return ThrottleKind.ALARM
    return ThrottleKind.COUNTER if throttle.source.endswith(_COUNTERS) else ThrottleKind.STATE


def read_throttles(system: SystemTree) -> tuple[Throttle, ...] | None:
    """Reads every throttle flag, state and counter.

    Args:
        system: The file tree to look at.

    Returns:
        What was found, or None when the system has none of them.
    """
    found: list[Throttle] = []
    # The Raspberry Pi 5 puts the chip's address into the folder's name.
    for path in system.names("/sys/devices/platform", "soc*/soc*:firmware/get_throttled"):
        found += _throttle(PI_FLAGS, system.text(path), 16)
    for path in system.names("/sys/class/hwmon", "hwmon*"):
        if system.text(f"{path}/name") == "rpi_volt":
            found += _throttle(PI_VOLTAGE_ALARM, system.text(f"{path}/in0_lcrit_alarm"), 10)
    for path in system.names("/sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle"):
        for name in _COUNTERS:
            found += _throttle(f"{path.split('/')[-2]} {name}", system.text(f"{path}/{name}"), 10)
    for path in system.names("/sys/class/thermal", "cooling_device*"):
        kind = system.text(f"{path}/type") or "unknown"
        if any(word in kind.lower() for word in _SLOWING):
            source = f"{path.rpartition('/')[2]} {kind[:60]}"
            found += _throttle(source, system.text(f"{path}/cur_state"), 10)
    return tuple(found) or None


def read_power_mode(system: SystemTree) -> str | None:
    """Returns the board's power mode, such as Jetson's `MAXN (0)` or ACPI's `balanced`."""
    status = system.text("/var/lib/nvpmodel/status")
    config = system.text("/etc/nvpmodel.conf") or ""
    if status:
        mode = _MODE.search(status)
        if mode is None:
            return status[:200]
        names = dict(_MODE_NAMES.findall(config))
        return f"{names.get(mode[1], 'mode')} ({mode[1]})"[:200]
    profile = system.text("/sys/firmware/acpi/platform_profile")
    return profile[:200] if profile else None


def _throttle(source: str, text: str | None, base: int) -> list[Throttle]:
    try:
        value = int(text or "", base)
    except ValueError:
        return []
    return [Throttle(source, value)] if value >= 0 else []
