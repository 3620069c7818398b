"""Rows as the store would read them, for the tests of the answers."""

from __future__ import annotations

from typing import Any

from edgepack.hub.answers.rows import ContextRow, ReleaseRow, SetupRow, StandingRow
from edgepack.hub.answers.trust import Standing

CONTEXT = ContextRow(
    id=1,
    digest="d" * 64,
    scenario="single_stream",
    model="session",
    box="Raspberry Pi 4",
    box_key="pi4",
    facts={"box": "Raspberry Pi 4"},
)


def release(number: int = 1, **fields: Any) -> ReleaseRow:
    """A release; a higher number came later."""
    row = {
        "id": number,
        "bundle_id": f"{number:064d}",
        "target": "arm64",
        "model": "session",
        "version": f"1.{number}.0",
        "architecture": "sasrec",
        "first_seen_ms": number,
    }
    return ReleaseRow(**{**row, **fields})


def setup(number: int, variant: str = "tflite-fp32", **fields: Any) -> SetupRow:
    """A setup of a release."""
    row = {
        "id": number,
        "release": fields.pop("release", release()),
        "variant": variant,
        "format": variant.partition("-")[0],
        "precision": variant.partition("-")[2],
        "model_sha256": "e" * 64,
        "size_bytes": 1_000_000,
        "runtime": "litert" if variant.startswith("tflite") else "onnxruntime",
        "runtime_version": "2.1.0",
        "provider": "cpu",
        "threads": 1,
        "quality": {"ndcg_ratio": 0.999, "samples": 100},
    }
    return SetupRow(**{**row, **fields})


def standing(device: int, setup_id: int, p50_ns: int | None, **fields: Any) -> StandingRow:
    """The newest run of a box; its p99 is twice its p50."""
    row = {
        "device_id": device,
        "setup_id": setup_id,
        "context_id": CONTEXT.id,
        "trust": Standing.TRUSTED,
        "created_ms": 1000,
        "p50_ns": p50_ns,
        "p99_ns": None if p50_ns is None else 2 * p50_ns,
        "ready_ns": 5_000,
        "rss_peak_bytes": 80_000_000,
    }
    return StandingRow(**{**row, **fields})


def many(
    setup_id: int, latencies_ns: list[int], *, first_device: int = 1, **fields: Any
) -> list[StandingRow]:
    """The newest runs of as many boxes as there are latencies."""
    return [
        standing(first_device + i, setup_id, latency_ns, **fields)
        for i, latency_ns in enumerate(latencies_ns)
    ]
