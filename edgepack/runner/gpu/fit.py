"""Judges whether a runtime can use a card: values in, a verdict out.

It is not aware of how anything was read. Used by `looking` and by tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgepack.formats.device import GpuCard, GpuState
from edgepack.runner.gpu import needs
from edgepack.runner.gpu.driver import Driver
from edgepack.runner.gpu.libraries import Found
from edgepack.runner.gpu.nvml import Look

#: The same everywhere: what to do where there is a driver package to be had.
_DRIVER_PACKAGE: Final = "Debian: apt-get install nvidia-driver; Ubuntu: ubuntu-drivers install"
_MEBIBYTE: Final = 2**20
#: What NVML says, or cannot, on a machine without a driver.
_NOTHING_THERE: Final = ("no_library", "not_loaded", "no_package")
#: What other programs on the card do, and may be over a moment later.
_OF_THE_MOMENT: Final = frozenset({"out_of_memory", "card_taken"})


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that keeps a provider from being used.

    Attributes:
        name: A short name for it, such as `driver_too_old`.
        what: What was looked at.
        found: What is there.
        needed: What the runtime wants.
        hint: What to do.
    """

    name: str
    what: str
    found: str
    needed: str
    hint: str

    @property
    def reason(self) -> str:
        """The fault in one clause, without what to do."""
        return f"{self.what}: found {self.found}; needed {self.needed}"

    def __str__(self) -> str:
        return f"{self.reason}; {self.hint}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which providers can be used.

    Attributes:
        usable: Those that can be, in the order they are tried; the CPU's is always one.
        refused: Why each of the others cannot.
        card: What the first visible card is; None where there is none or it cannot be asked.
        look: What NVML says.
        found: Where the libraries are.
        unknown: What could not be looked at, in words.
    """

    usable: tuple[str, ...]
    refused: Mapping[str, tuple[Obstacle, ...]]
    card: GpuCard | None = None
    look: Look = field(default_factory=Look)
    found: Found = field(default_factory=lambda: Found({}, {}))
    unknown: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """The provider that is tried first."""
        return self.usable[0]

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """Everything that is in the way, each once."""
        return tuple(dict.fromkeys(each for some in self.refused.values() for each in some))

    @property
    def fallback(self) -> str | None:
        """Why the CPU computes although a GPU was asked for; None where one is used."""
        if self.provider != needs.CPU or not self.refused:
            return None
        first = next(iter(self.refused.values()))[0]
        asked = next(iter(self.refused))
        return f"{asked} cannot be used: {first.reason}"

    @property
    def busy(self) -> bool:
        """Whether the CPU computes only because of what else is on the card at the moment."""
        return self.provider == needs.CPU and any(
            all(each.name in _OF_THE_MOMENT for each in some) for some in self.refused.values()
        )

    @property
    def gpu(self) -> str | None:
        """The card and the driver in one name, for comparing.

        It is the same whatever else is on the card at the moment; None where the CPU computes
        for a reason that lasts.
        """
        if self.provider == needs.CPU and not self.busy:
            return None
        name = self.card.name if self.card and self.card.name else "a card"
        return f"{name}, driver {self.look.driver_version or 'unknown'}"[:200]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a bundle asks of a card.

    Attributes:
        providers: In the order they are to be tried.
        bundled: Whether the CUDA libraries come with the bundle.
        model_bytes: Size of the model file.
    """

    providers: tuple[str, ...] = (needs.CUDA, needs.CPU)
    bundled: bool = False
    model_bytes: int = 0


def judge(wish: Wish, driver: Driver, look: Look, found: Found) -> Verdict:
    """Judges a box.

    Args:
        wish: What is asked for.
        driver: What files say of the driver.
        look: What NVML says of driver and cards.
        found: Which libraries are there.

    Returns:
        The verdict, with everything that is in the way.
    """
    asked = tuple(each for each in wish.providers if each != needs.CPU)
    card_obstacles = tuple(_of_driver(driver, look)) or tuple(_of_card(wish, driver, look))
    refused: dict[str, tuple[Obstacle, ...]] = {}
    for provider in asked:
        libraries = _of_libraries(needs.libraries_of(provider), found, bundled=wish.bundled)
        obstacles = (*card_obstacles, *libraries)
        if obstacles:
            refused[provider] = obstacles
    usable = tuple(each for each in asked if each not in refused)
    card = look.cards[look.visible[0]] if look.visible else None
    unknown = () if look.trouble != "no_package" else (look.words,)
    return Verdict((*usable, needs.CPU), refused, card, look, found, unknown)


def version_numbers(version: str | None) -> tuple[int, ...]:
    """Returns a version's numbers, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version or ""))


def _of_driver(driver: Driver, look: Look) -> Iterator[Obstacle]:
    """What is wrong with the driver as a whole; the first is the cause of the rest."""
    version = look.driver_version or driver.version
    if version is None and look.trouble in _NOTHING_THERE and not driver.cards:
        yield _no_driver(driver)
    elif driver.denied or look.trouble == "no_permission":
        yield _no_permission(driver)
    elif look.trouble == "mismatch" or _differs(driver):
        yield _mismatch(driver)
    elif look.trouble in ("not_loaded", "lost", "other", "no_library"):
        yield _silent_driver(driver, look)
    elif version_numbers(version) < needs.MINIMUM_DRIVER and version is not None:
        yield _old_driver(version, look.cuda_version)


def _no_driver(driver: Driver) -> Obstacle:
    found = "none, no /dev/nvidia* and no kernel module"
    if driver.library_version is not None:
        found = f"its libraries ({driver.library_version}) but no kernel module"
    return Obstacle(
        "no_driver",
        "the NVIDIA driver",
        found,
        f"{_dotted(needs.MINIMUM_DRIVER)} or newer",
        f"install it and restart ({_DRIVER_PACKAGE}); in a container: --gpus all, with the "
        "NVIDIA Container Toolkit on the host",
    )


def _no_permission(driver: Driver) -> Obstacle:
    return Obstacle(
        "no_permission",
        "the card's device files",
        f"{', '.join(driver.denied) or 'them'} closed to this user",
        "to be read and written",
        "put the user into the group that owns them (ls -l /dev/nvidia*), often `video`; a "
        "systemd unit with DevicePolicy= needs DeviceAllow=/dev/nvidia* rw",
    )


def _differs(driver: Driver) -> bool:
    kernel, library = version_numbers(driver.version), version_numbers(driver.library_version)
    return bool(kernel and library and kernel != library)


def _mismatch(driver: Driver) -> Obstacle:
    return Obstacle(
        "driver_mismatch",
        "the NVIDIA driver",
        f"kernel module {driver.version or 'of one version'}, libraries "
        f"{driver.library_version or 'of another'}",
        "the same version of both",
        "the driver was upgraded while it ran: restart the box; in a container: restart it",
    )


def _silent_driver(driver: Driver, look: Look) -> Obstacle:
    if look.trouble == "lost":
        found, hint = "a card that does not answer any more", "dmesg | grep Xid says why; restart"
    elif look.trouble == "no_library":
        found = "no libnvidia-ml.so.1 that can be loaded"
        hint = f"install the driver's libraries too ({_DRIVER_PACKAGE})"
    elif look.trouble == "not_loaded":
        found = "it installed and not loaded"
        hint = "modprobe nvidia; where that fails dmesg says why (secure boot, another kernel)"
    else:
        found, hint = f"it saying: {look.words}", "nvidia-smi shows the same; restart the box"
    version = f" ({driver.version})" if driver.version else ""
    return Obstacle("driver_silent", f"the NVIDIA driver{version}", found, "one that answers", hint)


def _old_driver(version: str, cuda: str | None) -> Obstacle:
    runs = f", which runs CUDA up to {cuda}" if cuda else ""
    return Obstacle(
        "driver_too_old",
        "the NVIDIA driver",
        f"{version}{runs}",
        f"{_dotted(needs.MINIMUM_DRIVER)} or newer, for CUDA {needs.CUDA_MAJOR}",
        f"upgrade the driver ({_DRIVER_PACKAGE})",
    )


def _of_card(wish: Wish, driver: Driver, look: Look) -> Iterator[Obstacle]:
    """What is wrong with the card that CUDA would take first."""
    if look.trouble is not None:
        # Only the package is missing: what files say is all there is.
        if driver.visible is not None and driver.visible.strip() in ("", "-1", "NoDevFiles"):
            yield _hidden(driver, len(driver.cards))
        return
    if not look.visible:
        yield _hidden(driver, len(look.cards))
        return
    card, state = look.cards[look.visible[0]], look.states[look.visible[0]]
    name = card.name or "the card"
    capability = version_numbers(card.compute_capability)
    if capability and capability < needs.MINIMUM_CAPABILITY:
        yield Obstacle(
            "card_too_old",
            name,
            f"compute capability {card.compute_capability}",
            f"{_dotted(needs.MINIMUM_CAPABILITY)} or higher: the runtime has no kernels below",
            "use a newer card (Pascal of 2016 or later)",
        )
    yield from _of_mode(name, card, state)
    needed = needs.memory_needed(wish.model_bytes)
    if state.memory_free is not None and state.memory_free < needed:
        total = f" of {_mb(card.memory_total)}" if card.memory_total else ""
        yield Obstacle(
            "out_of_memory",
            f"the memory of {name}",
            f"{_mb(state.memory_free)} free{total}",
            f"about {_mb(needed)}",
            "end what else computes on the card (nvidia-smi lists it), or ship a smaller variant",
        )


def _of_mode(name: str, card: GpuCard, state: GpuState) -> Iterator[Obstacle]:
    if card.compute_mode == "prohibited":
        yield Obstacle(
            "compute_prohibited",
            f"the compute mode of {name}",
            "prohibited",
            "default",
            "as root: nvidia-smi -c DEFAULT",
        )
    elif card.compute_mode == "exclusive_process" and state.other_processes:
        yield Obstacle(
            "card_taken",
            name,
            "it taken: its compute mode is exclusive_process and another process has it",
            "a card that nobody else has, or the compute mode default",
            "end that process (nvidia-smi lists it), or as root: nvidia-smi -c DEFAULT",
        )


def _shown(visible: str) -> str:
    """Returns CUDA_VISIBLE_DEVICES without what tells one card from all others."""
    words = (word.strip() for word in visible[:200].split(","))
    return ",".join(f"{w[:4]}…" if w.startswith(("GPU-", "MIG-")) else w for w in words)[:40]


def _hidden(driver: Driver, cards: int) -> Obstacle:
    if cards and driver.visible is not None:
        return Obstacle(
            "card_hidden",
            "CUDA_VISIBLE_DEVICES",
            f"'{_shown(driver.visible)}', which shows none of this box's {cards}",
            "a card to use",
            "unset it, or set it to 0",
        )
    return Obstacle(
        "no_card",
        "the graphics card",
        "none, though the driver runs",
        "an NVIDIA card",
        "lspci | grep -i nvidia says whether it is plugged in; in a container: --gpus all",
    )


def _of_libraries(
    wanted: Sequence[needs.Library], found: Found, *, bundled: bool
) -> Iterator[Obstacle]:
    lacking = [each for each in wanted if each.soname not in found.paths]
    for library in lacking:
        others = found.others.get(library.soname, ())
        there = f"only {', '.join(others[:3])}" if others else "nothing"
        name = "wrong_library" if others else "library_missing"
        what = f"{library.title} ({library.soname})"
        yield Obstacle(name, what, there, library.soname, _how(library, bundled=bundled))


def _how(library: needs.Library, *, bundled: bool) -> str:
    if library.wheel is None:
        return "pip install tensorrt-cu12 (10.x), or leave TensorRT out of the target's providers"
    if bundled:
        return "it came with the bundle and is damaged or gone: install the bundle again"
    return (
        f"pip install {library.wheel} beside onnxruntime-gpu, install CUDA {needs.CUDA_MAJOR} and "
        'cuDNN 9, or build the bundle with cuda = "bundled"'
    )


def describe(obstacles: Iterable[Obstacle]) -> str:
    """Returns obstacles as one text, a sentence for each."""
    return ". ".join(str(each) for each in obstacles)


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(str(each) for each in numbers)


def _mb(count: int | None) -> str:
    return f"{(count or 0) / _MEBIBYTE:,.0f} MiB"
