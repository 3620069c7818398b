"""Reports as boxes would write them, for files that are asked without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.device import DeviceFacts, Environment
from edgepack.formats.options import EngineOptions
from edgepack.formats.quality import QualityFacts
from edgepack.formats.report import (
    BundleFacts,
    ColdFacts,
    CpuFacts,
    Distribution,
    Duration,
    GoldenFacts,
    Grade,
    MemoryFacts,
    MethodFacts,
    ModelFacts,
    Report,
    RunFacts,
    RuntimeFacts,
    Scenario,
    Trust,
)
from edgepack.formats.variants import RuntimeName, parse_variant_name


def make_report(
    number: int,
    *,
    variant: str = "tflite-fp32",
    p50_ns: int = 1_000_000,
    device: str | None = "",
    grade: Grade = Grade.A,
    version: str = "1.0.0",
    target: str = "arm64",
    model: str = "session",
) -> Report:
    """Makes the report of a box.

    Args:
        number: Makes the report's id; each once.
        variant: What ran.
        p50_ns: Its median latency; the p99 is twice that.
        device: The box's id; one of its own by default, None for a box without.
        grade: How far it can be trusted.
        version: The release's.
        target: What its bundle is for.
        model: The model's name.
    """
    spec = parse_variant_name(variant)
    state = Environment(**_silent(*_STATE))
    return Report(
        report_id=f"00000000-0000-4000-8000-{number:012d}",
        created="2026-03-01T09:15:02Z",
        device_id=f"box-{number}" if device == "" else device,
        edgepack="0.1.0",
        bundle=BundleFacts(sha256_hex(f"{target} {version} {variant}".encode()), target, "b" * 64),
        model=ModelFacts(
            name=model,
            version=version,
            kind="recommender",
            architecture="sasrec",
            variant=variant,
            format=spec.format,
            precision=spec.precision,
            sha256="c" * 64,
            size_bytes=100_000 if spec.precision.is_int8 else 400_000,
            vocabulary_sha256=None,
            sequence_length=20,
            catalogue_size=217,
            top_k=10,
            quality=QualityFacts(100, ndcg_ratio=0.999),
        ),
        runtime=RuntimeFacts(RuntimeName.LITERT, "2.1.0", "XNNPACK", 1, EngineOptions()),
        cold=ColdFacts(1, 2, 3, 4, 900_000_000),
        runs=(_run(p50_ns),),
        memory=MemoryFacts(1, 2, 3, 80_000_000, 5, 0),
        cpu=CpuFacts(1, 2, 99.5, 3, 4, other_percent=1.5),
        device=DeviceFacts(
            board="Raspberry Pi 4 Model B",
            cpu_model="Cortex-A72",
            cores_allowed=4,
            memory_total=4 * 2**30,
            emulated=False,
            **_silent(*_DEVICE),
        ),
        before=state,
        after=state,
        golden=GoldenFacts("d" * 64, 8, 0, ok=True),
        trust=Trust(grade, () if grade is Grade.A else ("short_run",)),
    )


def write_reports(path: Path, reports: list[Report]) -> Path:
    """Writes one report on each line."""
    path.write_bytes(b"".join(each.to_bytes() + b"\n" for each in reports))
    return path


_DEVICE = (
    *("kernel", "os_release", "libc", "arch", "python", "cpu_implementer", "cpu_part"),
    *("cpu_flags", "cores_online", "container", "virtualised", "gpu"),
)
_STATE = (
    *("frequency", "temperature_mc", "throttle", "load_1m", "memory_available", "swap_total"),
    *("swap_used", "cgroup_cpu_max", "cgroup_memory_max", "cgroup_throttled", "uptime_s"),
    *("clock_synced", "power_mode", "gpu"),
)


def _silent(*names: str) -> dict[str, Any]:
    return {**dict.fromkeys(names), "missing": dict.fromkeys(names, "not told")}


def _run(p50_ns: int) -> RunFacts:
    latency = Distribution(
        count=1000,
        min_ns=1,
        max_ns=4 * p50_ns,
        mean_ns=p50_ns,
        std_ns=2,
        p50=p50_ns,
        p75=p50_ns,
        p90=p50_ns,
        p95=p50_ns,
        p99=2 * p50_ns,
        early_stopping={},
        histogram=((1, 1000),),
        **_silent("p999"),
    )
    return RunFacts(
        MethodFacts(
            Scenario.SINGLE_STREAM, Duration.STANDARD, 10, 1, 2, 3, 64, 1000, 1, 1, "golden",
            "e" * 64,
        ),
        end_to_end=latency,
        compute=latency,
        samples_per_second=100.0,
        drift=0.0,
        valid=True,
        min_duration_met=True,
        min_queries_met=True,
        **_silent("queue", "over_latency", "bound_met"),
    )  # fmt: skip
