"""Simulated graphics cards: what NVML's Python interface answers, and boxes around it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgepack.runner.gpu.needs import CUDA_LIBRARIES, TENSORRT_LIBRARIES

_GIB = 2**30
ALL_LIBRARIES = tuple(each.soname for each in (*CUDA_LIBRARIES, *TENSORRT_LIBRARIES))


@dataclass
class Card:
    """One simulated card; by default an idle L4."""

    name: str = "NVIDIA L4"
    capability: tuple[int, int] = (8, 9)
    total: int = 24 * _GIB
    used: int = 300 * 2**20
    mode: int = 0
    reasons: int = 1
    thermal_ns: int = 0
    power_ns: int = 0
    pids: tuple[int, ...] = ()
    celsius: int = 41
    utilisation: int = 0
    #: Names of functions that this card does not support, as many cards do with some.
    unsupported: frozenset[str] = frozenset()


class NVMLError(Exception):
    """As pynvml's: a number and its words."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


_NOT_SUPPORTED = 3
_NOT_FOUND = 6


@dataclass
class SimulatedNvml:
    """The functions of pynvml that are called, over simulated cards."""

    cards: list[Card] = field(default_factory=lambda: [Card()])
    driver: str = "550.54.15"
    cuda: int = 12040
    init_error: int | None = None
    sessions: int = 0
    NVMLError = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802 - pynvml's own names, here and below
        if self.init_error is not None:
            raise NVMLError(self.init_error)
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.sessions -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:  # noqa: N802
        for number, card in enumerate(self.cards):
            if uuid == f"GPU-{number}":
                return card
        raise NVMLError(_NOT_FOUND)

    def nvmlDeviceGetIndex(self, card: Card) -> int:  # noqa: N802
        return self.cards.index(card)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _ANSWERS:
            raise AttributeError(name)
        answer = _ANSWERS[name]

        def ask(card: Card, *about: int) -> Any:
            if name in card.unsupported:
                raise NVMLError(_NOT_SUPPORTED)
            return answer(card, *about)

        return ask


_ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlDeviceGetName": lambda card: card.name,
    "nvmlDeviceGetCudaComputeCapability": lambda card: card.capability,
    "nvmlDeviceGetMemoryInfo": lambda card, _version=None: SimpleNamespace(
        total=card.total, used=card.used, free=card.total - card.used
    ),
    "nvmlDeviceGetMaxClockInfo": lambda _, kind: {1: 2040, 2: 6251}[kind],
    "nvmlDeviceGetClockInfo": lambda _, kind: {1: 210, 2: 405}[kind],
    "nvmlDeviceGetEnforcedPowerLimit": lambda _: 72_000,
    "nvmlDeviceGetPowerUsage": lambda _: 12_500,
    "nvmlDeviceGetPersistenceMode": lambda _: 1,
    "nvmlDeviceGetComputeMode": lambda card: card.mode,
    "nvmlDeviceGetMigMode": lambda _: [0, 0],
    "nvmlDeviceGetTemperature": lambda card, _sensor: card.celsius,
    "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=card.utilisation, memory=0),
    "nvmlDeviceGetCurrentClocksEventReasons": lambda card: card.reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda card: card.reasons,
    "nvmlDeviceGetViolationStatus": lambda card, policy: SimpleNamespace(
        violationTime=card.thermal_ns if policy == 1 else card.power_ns
    ),
    "nvmlDeviceGetComputeRunningProcesses": lambda card: [
        SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in card.pids
    ],
}


def shared_library(machine: int = 62) -> bytes:
    """The head of a shared library for a machine code (x86-64 by default)."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little")


def own_machine() -> int:
    """The machine code of what this Python runs on."""
    return {"x86_64": 62, "aarch64": 183}[os.uname().machine]


def write_box(
    root: Path,
    *,
    driver: str | None = "550.54.15",
    library: str | None = "550.54.15",
    devices: tuple[str, ...] = ("nvidia0", "nvidiactl", "nvidia-uvm"),
    libraries: tuple[str, ...] = ALL_LIBRARIES,
) -> Path:
    """Writes the files of a box with a card; by default everything is as it should be."""
    folder = root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "dev").mkdir(exist_ok=True)
    for name in devices:
        (root / "dev" / name).write_bytes(b"")
    if driver is not None:
        (root / "proc" / "driver" / "nvidia").mkdir(parents=True)
        text = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Tue Mar  5\nGCC 12.2.0\n"
        (root / "proc" / "driver" / "nvidia" / "version").write_text(text)
    if library is not None:
        (folder / f"libnvidia-ml.so.{library}").write_bytes(shared_library(own_machine()))
        (folder / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{library}")
    for name in libraries:
        (folder / name).write_bytes(shared_library(own_machine()))
    return root


def loader_cache(paths: Mapping[str, str]) -> bytes:
    """An `ld.so.cache` with these libraries, as glibc writes it.

    Source: glibc, sysdeps/generic/dl-cache.h.
    """
    header = 48
    strings, entries, place = b"", b"", header + 24 * len(paths)
    for name, path in paths.items():
        key = place + len(strings)
        strings += name.encode() + b"\0"
        value = place + len(strings)
        strings += path.encode() + b"\0"
        entries += struct.pack("=iIIIQ", 0x303, key, value, 0, 0)
    head = b"glibc-ld.so.cache1.1" + struct.pack("=II", len(paths), len(strings))
    return head.ljust(header, b"\0") + entries + strings
