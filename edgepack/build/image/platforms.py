"""Targets and machines in the words of container images: `linux/arm64`.

It is not aware of tools. Used by the other modules of `image`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgepack.formats.errors import ImageError

#: What `platform.machine()` calls them, and Go, whose words images use.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and a CPU architecture."""

    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    def to_json(self) -> dict[str, str]:
        """Returns it as a descriptor's `platform`."""
        return {"architecture": self.architecture, "os": self.os}

    def fits(self, found: Mapping[str, Any]) -> bool:
        """Whether an image's configuration or descriptor is for it."""
        return (found.get("os"), found.get("architecture")) == (self.os, self.architecture)


def platform_of(arch: str, system: str = "linux") -> Platform:
    """Returns the platform of a target.

    Args:
        arch: As `platform.machine()` says it.
        system: Such as `linux`.
    """
    return Platform(system, _ARCHITECTURES.get(arch, arch))


def host_platform() -> Platform:
    """Returns the platform that a build stage runs on here."""
    found = platform_of(platform.machine())
    if found.architecture not in _ARCHITECTURES.values():
        raise ImageError(f"no container platform is known for a {found.architecture} build host")
    return found
