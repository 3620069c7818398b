"""The kinds of boxes, candidates and releases of the made-up fleet: data, and nothing else.

The figures are plausible, not measured: a Raspberry Pi 5 is about twice a Raspberry Pi 4, 8-bit
weights help an ARM core more than a card. It is not aware of time. Used by the simulator alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgepack.formats.variants import Precision, RuntimeName

_GIB: Final = 2**30
_MS: Final = 1_000_000
_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card's facts; clocks in MHz, power in mW."""

    name: str
    capability: str
    memory_bytes: int
    sm_clock_max_mhz: int
    memory_clock_max_mhz: int
    power_limit_mw: int


@dataclass(frozen=True, slots=True)
class BoxClass:
    """A kind of box.

    Attributes:
        key: Its name here.
        share: How much of the fleet it is.
        kernels: Before and after an update of the system that some boxes get.
        governors: What its boxes run their CPU with; the first is the usual one.
        idle_mc: Temperature of the chip at rest above the room's, in thousandths of a degree.
        rise_mc: How much warmer a benchmark makes it.
        limit_mc: Where it slows down.
        passive: No fan: the room decides.
        throttle_source: Where its throttling is read; None: it tells nothing.
        base_ns: Median of the engine alone for fp32.
        overhead_ns: From item ids to the engine and back.
        jitter: Standard deviation of the logarithm of a latency.
        start_ns: From the start of the process to the runner's first line.
        load_ns: Importing the runtime and loading the model.
    """

    key: str
    share: float
    target: str
    arch: str
    board: str | None
    cpu_model: str
    cpu_implementer: str | None
    cpu_part: str | None
    cpu_flags: tuple[str, ...]
    cores: int
    memory_bytes: int
    kernels: tuple[str, str]
    governors: tuple[str, ...]
    khz: tuple[int, int]
    zone: str
    idle_mc: int
    rise_mc: int
    limit_mc: int
    passive: bool
    throttle_source: str | None
    base_ns: int
    overhead_ns: int
    jitter: float
    start_ns: int
    load_ns: int
    card: Card | None = None
    emulated: bool = False
    os_release: str = "Debian GNU/Linux 12 (bookworm)"
    libc: str = "glibc 2.36"
    python: str = "3.11.2"


_ARM_FLAGS: Final = ("asimd", "cpuid", "crc32", "evtstrm", "fp")
_ARM82_FLAGS: Final = (*_ARM_FLAGS, "aes", "asimddp", "asimdhp", "atomics", "fphp", "sha2")
_X86_FLAGS: Final = ("avx2", "fma", "sse4_2", "ssse3")
_X86_VNNI_FLAGS: Final = (*_X86_FLAGS, "avx512_vnni", "avx512f")
_PI_FLAGS_SOURCE: Final = "raspberrypi get_throttled"
_X86_COUNTER: Final = "cpu0 package_throttle_count"

BOX_CLASSES: Final = (
    BoxClass(
        key="rpi4",
        share=0.38,
        target="arm64",
        arch="aarch64",
        board="Raspberry Pi 4 Model B Rev 1.5",
        cpu_model="Cortex-A72",
        cpu_implementer="0x41",
        cpu_part="0xd08",
        cpu_flags=_ARM_FLAGS,
        cores=4,
        memory_bytes=2 * _GIB,
        kernels=("6.1.0-rpi8-rpi-v8", "6.6.51+rpt-rpi-v8"),
        governors=("ondemand", "performance"),
        khz=(600_000, 1_800_000),
        zone="thermal_zone0:cpu-thermal",
        idle_mc=24_000,
        rise_mc=11_500,
        limit_mc=80_000,
        passive=True,
        throttle_source=_PI_FLAGS_SOURCE,
        base_ns=2_350 * _US,
        overhead_ns=260 * _US,
        jitter=0.055,
        start_ns=310 * _MS,
        load_ns=420 * _MS,
    ),
    BoxClass(
        key="rpi5",
        share=0.22,
        target="arm64",
        arch="aarch64",
        board="Raspberry Pi 5 Model B Rev 1.0",
        cpu_model="Cortex-A76",
        cpu_implementer="0x41",
        cpu_part="0xd0b",
        cpu_flags=_ARM82_FLAGS,
        cores=4,
        memory_bytes=4 * _GIB,
        kernels=("6.6.31+rpt-rpi-2712", "6.6.51+rpt-rpi-2712"),
        governors=("ondemand", "performance"),
        khz=(1_500_000, 2_400_000),
        zone="thermal_zone0:cpu-thermal",
        idle_mc=27_000,
        rise_mc=9_000,
        limit_mc=80_000,
        passive=False,
        throttle_source=_PI_FLAGS_SOURCE,
        base_ns=980 * _US,
        overhead_ns=110 * _US,
        jitter=0.045,
        start_ns=140 * _MS,
        load_ns=180 * _MS,
    ),
    BoxClass(
        key="kiosk",
        share=0.16,
        target="arm64",
        arch="aarch64",
        board="Radxa ROCK 3 Model A",
        cpu_model="Cortex-A55",
        cpu_implementer="0x41",
        cpu_part="0xd05",
        cpu_flags=_ARM82_FLAGS,
        cores=4,
        memory_bytes=2 * _GIB,
        kernels=("5.10.160-26-rk356x", "6.1.43-15-rk2312"),
        governors=("interactive", "ondemand"),
        khz=(408_000, 1_992_000),
        zone="thermal_zone0:soc-thermal",
        idle_mc=28_000,
        rise_mc=13_000,
        limit_mc=78_000,
        passive=True,
        throttle_source="cooling_device0 thermal-cpufreq-0",
        base_ns=3_900 * _US,
        overhead_ns=420 * _US,
        jitter=0.08,
        start_ns=460 * _MS,
        load_ns=610 * _MS,
    ),
    BoxClass(
        key="till",
        share=0.17,
        target="cpu",
        arch="x86_64",
        board="NCR RealPOS XR7",
        cpu_model="Intel(R) Celeron(R) G4900T",
        cpu_implementer=None,
        cpu_part=None,
        cpu_flags=_X86_FLAGS,
        cores=2,
        memory_bytes=8 * _GIB,
        kernels=("6.1.0-25-amd64", "6.1.0-28-amd64"),
        governors=("powersave", "performance"),
        khz=(800_000, 2_900_000),
        zone="thermal_zone0:x86_pkg_temp",
        idle_mc=20_000,
        rise_mc=7_000,
        limit_mc=95_000,
        passive=False,
        throttle_source=_X86_COUNTER,
        base_ns=640 * _US,
        overhead_ns=75 * _US,
        jitter=0.06,
        start_ns=95 * _MS,
        load_ns=130 * _MS,
    ),
    BoxClass(
        key="t4",
        share=0.03,
        target="gpu",
        arch="x86_64",
        board="Supermicro SYS-E302",
        cpu_model="Intel(R) Xeon(R) D-2123IT",
        cpu_implementer=None,
        cpu_part=None,
        cpu_flags=_X86_VNNI_FLAGS,
        cores=8,
        memory_bytes=32 * _GIB,
        kernels=("6.1.0-25-amd64", "6.1.0-28-amd64"),
        governors=("performance", "powersave"),
        khz=(800_000, 3_000_000),
        zone="thermal_zone0:x86_pkg_temp",
        idle_mc=18_000,
        rise_mc=9_000,
        limit_mc=95_000,
        passive=False,
        throttle_source=_X86_COUNTER,
        base_ns=610 * _US,
        overhead_ns=60 * _US,
        jitter=0.05,
        start_ns=80 * _MS,
        load_ns=2_900 * _MS,
        card=Card("Tesla T4", "7.5", 16 * _GIB, 1590, 5001, 70_000),
    ),
    BoxClass(
        key="l4",
        share=0.02,
        target="gpu",
        arch="x86_64",
        board="Dell PowerEdge XR4000",
        cpu_model="Intel(R) Xeon(R) D-2776NT",
        cpu_implementer=None,
        cpu_part=None,
        cpu_flags=_X86_VNNI_FLAGS,
        cores=16,
        memory_bytes=64 * _GIB,
        kernels=("6.1.0-25-amd64", "6.1.0-28-amd64"),
        governors=("performance", "powersave"),
        khz=(800_000, 3_200_000),
        zone="thermal_zone0:x86_pkg_temp",
        idle_mc=18_000,
        rise_mc=9_000,
        limit_mc=95_000,
        passive=False,
        throttle_source=_X86_COUNTER,
        base_ns=340 * _US,
        overhead_ns=45 * _US,
        jitter=0.045,
        start_ns=70 * _MS,
        load_ns=2_300 * _MS,
        card=Card("NVIDIA L4", "8.9", 24 * _GIB, 2040, 6251, 72_000),
    ),
    BoxClass(
        key="emulated",
        share=0.02,
        target="arm64",
        arch="aarch64",
        board=None,
        cpu_model="cortex-a72",
        cpu_implementer=None,
        cpu_part=None,
        cpu_flags=(),
        cores=2,
        memory_bytes=4 * _GIB,
        kernels=("6.1.0-25-amd64", "6.1.0-28-amd64"),
        governors=(),
        khz=(0, 0),
        zone="",
        idle_mc=0,
        rise_mc=0,
        limit_mc=200_000,
        passive=False,
        throttle_source=None,
        base_ns=21_000 * _US,
        overhead_ns=2_900 * _US,
        jitter=0.12,
        start_ns=2_400 * _MS,
        load_ns=3_100 * _MS,
        emulated=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant with the runtime that opens it.

    Attributes:
        speed: Its median as a share of fp32's.
        size: Its file as a share of fp32's.
        kept: Its NDCG@10 as a share of fp32's; `overlap` and `top1` likewise against fp32.
    """

    runtime: RuntimeName
    version: str
    provider: str
    precision: Precision
    speed: float
    size: float
    kept: float
    overlap: float
    top1: float


def _of(
    runtime: RuntimeName, version: str, provider: str, rows: Mapping[Precision, float]
) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(runtime, version, provider, precision, speed, *_OF_PRECISION[precision])
        for precision, speed in rows.items()
    )


_OF_PRECISION: Final = {
    Precision.FP32: (1.0, 1.0, 1.0, 1.0),
    Precision.FP16: (0.502, 0.9998, 0.998, 0.997),
    Precision.DYNAMIC_INT8: (0.275, 0.9981, 0.972, 0.951),
    Precision.STATIC_INT8: (0.268, 0.9962, 0.958, 0.929),
}
_FP32, _FP16 = Precision.FP32, Precision.FP16
_DYNAMIC, _STATIC = Precision.DYNAMIC_INT8, Precision.STATIC_INT8
_LITERT, _ONNX = RuntimeName.LITERT, RuntimeName.ONNXRUNTIME

#: What a bundle for a target carries, by the runtime in it; the first is the usual one.
CANDIDATES: Final[Mapping[str, tuple[tuple[Candidate, ...], ...]]] = {
    "arm64": (
        _of(_LITERT, "2.3.0", "XNNPACK", {_STATIC: 0.47, _DYNAMIC: 0.61, _FP32: 1.0, _FP16: 1.02}),
        _of(_ONNX, "1.32.0", "CPUExecutionProvider", {_STATIC: 0.58, _DYNAMIC: 0.69, _FP32: 1.11}),
    ),
    "cpu": (
        _of(_ONNX, "1.32.0", "CPUExecutionProvider", {_STATIC: 0.55, _DYNAMIC: 0.66, _FP32: 0.93}),
        _of(_LITERT, "2.3.0", "XNNPACK", {_STATIC: 0.59, _DYNAMIC: 0.72, _FP32: 1.0, _FP16: 1.04}),
    ),
    "gpu": (
        _of(
            *(RuntimeName.ONNXRUNTIME_GPU, "1.24.4", "CUDAExecutionProvider"),
            {_FP16: 0.71, _FP32: 1.0, _STATIC: 1.38},
        ),
    ),
}
#: The share of boxes whose bundle has the second runtime.
SECOND_RUNTIME_SHARE: Final = 0.22


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """A version of the model, and when it goes out.

    Attributes:
        version: Its name.
        begins: When its roll-out begins, as a share of the simulated days.
        ndcg: Of its fp32 variant.
        size_bytes: Of its fp32 variant.
        catalogue: Items that it knows.
        slower: What its latencies are multiplied with, by the target.
    """

    version: str
    begins: float
    ndcg: float
    size_bytes: int
    catalogue: int
    slower: Mapping[str, float]


#: 1.2.0 is the regression: a graph that no longer uses 8-bit products on ARM.
RELEASES: Final = (
    ReleasePlan("1.0.0", -1.0, 0.0412, 1_742_000, 3_665, {}),
    ReleasePlan("1.1.0", 0.25, 0.0431, 1_748_000, 3_702, {"arm64": 0.97, "cpu": 0.98}),
    ReleasePlan("1.2.0", 0.55, 0.0436, 1_753_000, 3_702, {"arm64": 1.24, "cpu": 1.03}),
    ReleasePlan("1.2.1", 0.80, 0.0436, 1_753_000, 3_702, {"arm64": 0.96, "cpu": 0.97}),
)
#: How long a release takes to reach the last box, as a share of the simulated days.
ROLLOUT: Final = 0.12
