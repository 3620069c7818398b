"""Takes the facts of a report that the tables keep; the document itself is kept beside them.

Values in, values out. It is not aware of the database beyond the columns' names and ranges.
Used by `submission` and by the simulator's bulk loader.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Table

from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import Problem
from edgepack.formats.report import Report, RunFacts, Scenario
from edgepack.formats.typed import to_plain
from edgepack.hub.answers.health import RANKS, condition_of, main_run_index
from edgepack.hub.answers.trust import standing_of
from edgepack.hub.store import schema
from edgepack.hub.store.rows import Extracted, RunRows

#: A clock this far ahead of the hub's is wrong; less may be the way the report took.
_AHEAD_MS: Final = 600_000
#: A report that waited longer than this was not kept by any spool: the clock is wrong.
_BEHIND_MS: Final = 400 * 86_400_000
_GIB: Final = 2**30
_INT32: Final = 2**31 - 1
_INT64: Final = 2**63 - 1
_NAME_LENGTH: Final = 200
_BOX_KEY_DIGITS: Final = 12


def extract(report: Report, *, sha256: str, received_ms: int) -> Extracted:
    """Takes the facts of a report.

    Args:
        report: The report, checked.
        sha256: The hash of the bytes it was parsed from.
        received_ms: When they came.

    Returns:
        The rows' values. Texts are such that every database takes them.
    """
    created_ms = _milliseconds(report.created)
    clock_off = not received_ms - _BEHIND_MS <= created_ms <= received_ms + _AHEAD_MS
    moment = received_ms if clock_off else created_ms
    box = _box_facts(report)
    key = _digest(box)[:_BOX_KEY_DIGITS]
    runs = tuple(_run_rows(report, run, box, key, moment) for run in report.runs)
    return Extracted(
        report=_report_row(report, sha256, received_ms, moment, clock_off=clock_off),
        release=_release_row(report, moment),
        setup=_setup_row(report),
        runs=runs,
        device=_device_row(report, box, runs, moment),
    )


def check_ranges(extracted: Extracted) -> list[Problem]:
    """Says which numbers no database keeps; the format itself has no upper ends.

    Args:
        extracted: What was taken of a report.

    Returns:
        Everything that is too large; empty when it can be stored.
    """
    problems = _too_large(schema.report, extracted.report)
    problems += _too_large(schema.setup, extracted.setup)
    for rows in extracted.runs:
        problems += _too_large(schema.run, rows.run)
    return problems


def box_words(facts: Mapping[str, Any]) -> str:
    """Names a kind of box, such as `Raspberry Pi 4 Model B, Cortex-A72, 4 cores, 4 GiB`.

    Args:
        facts: The part of a context's facts that tells the box.
    """
    cores, memory = facts["cores"], facts["memory_gib"]
    parts = [
        facts["board"],
        facts["cpu"] if facts["cpu"] != facts["board"] else None,
        None if cores is None else f"{cores} cores" if cores != 1 else "1 core",
        None if memory is None else f"{memory} GiB",
        facts["gpu"],
    ]
    words = ", ".join(part for part in parts if part)
    return (words or facts["arch"] or "unknown box")[:_NAME_LENGTH]


def _report_row(
    report: Report, sha256: str, received_ms: int, moment: int, *, clock_off: bool
) -> dict[str, Any]:
    return {
        "report_id": report.report_id,
        "sha256": sha256,
        "received_ms": received_ms,
        "created_ms": moment,
        "clock_off": clock_off,
        "grade": str(report.trust.grade),
        "reasons": _json(list(report.trust.reasons)),
        "emulated": bool(report.device.emulated),
        "golden_ok": report.golden.ok,
        "condition": str(condition_of(report)),
        "process_start_ns": report.cold.process_start_ns,
        "init_ns": report.cold.init_ns,
        "first_inference_ns": report.cold.first_inference_ns,
        "ready_ns": report.cold.time_to_ready_ns,
        "rss_peak_bytes": report.memory.rss_peak,
        "temperature_before_mc": _hottest(report.before.temperature_mc),
        "temperature_mc": _hottest(report.after.temperature_mc),
        "throttled": _throttled(report),
        "load_1m": report.before.load_1m,
    }


def _release_row(report: Report, moment: int) -> dict[str, Any]:
    return {
        "bundle_id": report.bundle.id,
        "target": _text(report.bundle.target),
        "target_sha256": report.bundle.target_sha256,
        "model": _text(report.model.name),
        "version": _text(report.model.version),
        "architecture": _text(report.model.architecture),
        "first_seen_ms": moment,
    }


def _setup_row(report: Report) -> dict[str, Any]:
    model, runtime = report.model, report.runtime
    options = None if runtime.options is None else to_plain(runtime.options)
    row = {
        "variant": _text(model.variant),
        "format": str(model.format),
        "precision": str(model.precision),
        "model_sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "runtime": str(runtime.name),
        "runtime_version": _text(runtime.version),
        "provider": _text(runtime.provider),
        "threads": runtime.threads,
        "options": _json(options),
        "quality": _json(None if model.quality is None else to_plain(model.quality)),
    }
    return {"digest": _digest({**row, "bundle": report.bundle.id}), **row}


def _box_facts(report: Report) -> dict[str, Any]:
    device = report.device
    part = [text for text in (device.cpu_implementer, device.cpu_part) if text]
    cards = () if device.gpu is None else device.gpu.cards
    names = sorted(card.name or "unknown card" for card in cards)
    memory = device.memory_total
    return {
        "arch": _optional(device.arch),
        "board": _optional(device.board),
        "cpu": _optional(device.cpu_model or (" ".join(part) or None)),
        "cores": device.cores_allowed,
        # A part of it is the firmware's, more or less by its version.
        "memory_gib": None if memory is None else round(memory / _GIB) or 1,
        "gpu": _optional(" + ".join(names) or None),
        "virtualised": _optional(device.virtualised),
        "emulated": bool(device.emulated),
    }


def _run_rows(
    report: Report, run: RunFacts, box: Mapping[str, Any], key: str, moment: int
) -> RunRows:
    latency = run.compute if run.end_to_end is None else run.end_to_end
    trust = standing_of(
        report.trust.grade,
        emulated=bool(report.device.emulated),
        valid=run.valid,
        golden_ok=report.golden.ok,
    )
    row = {
        "created_ms": moment,
        "valid": run.valid,
        "queries": latency.count,
        "mean_ns": latency.mean_ns,
        **{f"{name}_ns": getattr(latency, name) for name in ("p50", "p90", "p95", "p99", "p999")},
        "samples_per_second": run.samples_per_second,
        "target_qps": run.method.target_qps,
    }
    return RunRows(context=_context_row(report, run, box, key), trust=str(trust), run=row)


def _context_row(report: Report, run: RunFacts, box: Mapping[str, Any], key: str) -> dict[str, Any]:
    method, model = run.method, report.model
    offline = method.scenario is Scenario.OFFLINE
    facts = {
        **box,
        "model": _text(model.name),
        "kind": _text(model.kind),
        "sequence_length": model.sequence_length,
        "catalogue_size": model.catalogue_size,
        "top_k": model.top_k,
        "scenario": str(method.scenario),
        "latency": "compute" if run.end_to_end is None else "end_to_end",
        # Of Offline it is how many samples fitted into the time, another number every run.
        "samples_per_query": None if offline else method.samples_per_query,
        "max_batch": method.max_batch,
        "arrival": _optional(method.arrival),
        "latency_bound_ns": method.latency_bound_ns,
        "input": _text(method.input),
        "power_mode": _optional(report.before.power_mode),
    }
    written = canonical_json(facts)
    return {
        "digest": sha256_hex(written),
        "scenario": str(method.scenario),
        "model": _text(model.name),
        "box": box_words(box),
        "box_key": key,
        "facts": _text(written.decode("utf-8")),
    }


def _device_row(
    report: Report, box: Mapping[str, Any], runs: Sequence[RunRows], moment: int
) -> dict[str, Any]:
    condition = condition_of(report)
    index = main_run_index(report)
    main: Mapping[str, Any] = {} if index is None else runs[index].run
    return {
        "reported_ms": moment,
        "box": box_words(box),
        "grade": str(report.trust.grade),
        "condition": str(condition),
        "rank": RANKS[condition],
        "p50_ns": main.get("p50_ns"),
        "p99_ns": main.get("p99_ns"),
        "temperature_mc": _hottest(report.after.temperature_mc),
    }


def _hottest(temperatures: Mapping[str, int] | None) -> int | None:
    return max(temperatures.values()) if temperatures else None


def _throttled(report: Report) -> bool | None:
    if any("throttled" in reason or reason == "under_voltage" for reason in report.trust.reasons):
        return True
    return None if report.after.throttle is None and report.after.gpu is None else False


def _milliseconds(text: str) -> int:
    """Reads a report's time; it has the right form, but may name a day that does not exist."""
    try:
        moment = datetime.fromisoformat(f"{text[:19]}+00:00")
    except ValueError:
        return 0
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000


def _too_large(table: Table, row: Mapping[str, Any]) -> list[Problem]:
    limits = _limits(table)
    return [
        Problem(f"{table.name}.{name}", f"{value} is above {limits[name]}")
        for name, value in row.items()
        if name in limits and isinstance(value, int) and abs(value) > limits[name]
    ]


@functools.cache
def _limits(table: Table) -> dict[str, int]:
    return {
        column.name: _INT64 if isinstance(column.type, BigInteger) else _INT32
        for column in table.c
        if isinstance(column.type, Integer)
    }


def _text(text: str) -> str:
    # PostgreSQL keeps no NUL in a text, and no database a half of a surrogate pair.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _optional(text: str | None) -> str | None:
    return None if text is None else _text(text)


def _json(value: Any) -> str:
    return _text(canonical_json(value).decode("utf-8"))


def _digest(value: Any) -> str:
    return sha256_hex(canonical_json(value))
