"""One small piece of evidence, as a hub would answer it."""

from __future__ import annotations

from edgepack.formats.evidence import Evidence, Limits, Pick

EVIDENCE = Evidence(
    created="2026-03-01T12:00:00Z",
    source="https://hub.example",
    target="arm64",
    model="session",
    scenario="single_stream",
    limits=Limits(max_p99_ns=5_000_000),
    picks=(Pick("litert", "tflite-fp32", 1.0, 0.9, 1.1, 1_000_000, 20, 1),),
    settled=True,
    reason="tflite-fp32 on litert is the fastest",
)
