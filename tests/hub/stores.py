"""Fills a hub's store by hand, row by row, for the tests of what reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, select

from edgepack.formats.canonical import canonical_json
from edgepack.hub.answers.health import RANKS, Condition
from edgepack.hub.store import schema
from edgepack.hub.store.documents import pack
from edgepack.hub.store.engine import open_engine, writing
from edgepack.hub.store.migrating import migrate

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


def open_store(folder: Path) -> Engine:
    """Makes an empty store."""
    engine = open_engine(folder / "hub.sqlite")
    migrate(engine)
    return engine


class Filler:
    """Puts rows into a store; whatever is not said has a plain default."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = writing(engine).connect()
        self._counts: dict[str, int] = {}

    def close(self) -> None:
        """Gives the connection back."""
        self._open.close()

    def release(self, version: str = "1.0.0", **fields: Any) -> int:
        """Adds a release; `first_seen_ms` goes up with each."""
        number = self._next("release")
        row = {
            "bundle_id": _hash(f"release {number}"),
            "target": "arm64",
            "target_sha256": "a" * 64,
            "model": "session",
            "version": version,
            "architecture": "sasrec",
            "first_seen_ms": NOW_MS - 100 * DAY_MS + number,
        }
        return self._insert(schema.release, {**row, **fields})

    def setup(self, release_id: int, variant: str = "tflite-fp32", **fields: Any) -> int:
        """Adds a setup; `quality` and `options` are objects."""
        number = self._next("setup")
        quality = fields.pop("quality", {"samples": 100, "ndcg_ratio": 0.999})
        options = fields.pop("options", {"threads": fields.get("threads", 1)})
        row = {
            "digest": _hash(f"setup {number}"),
            "release_id": release_id,
            "variant": variant,
            "format": variant.partition("-")[0],
            "precision": variant.partition("-")[2],
            "model_sha256": _hash(variant),
            "size_bytes": 1_000_000,
            "runtime": "litert" if variant.startswith("tflite") else "onnxruntime",
            "runtime_version": "2.1.0",
            "provider": "cpu",
            "threads": 1,
            "options": json.dumps(options),
            "quality": json.dumps(quality),
        }
        return self._insert(schema.setup, {**row, **fields})

    def context(self, box: str = "Raspberry Pi 4", **fields: Any) -> int:
        """Adds a context; `facts` is an object, `box` and `scenario` are put into it."""
        number = self._next("context")
        scenario = fields.get("scenario", "single_stream")
        model = fields.get("model", "session")
        facts = {"box": box, "scenario": scenario, "model": model, **fields.pop("facts", {})}
        row = {
            "digest": _hash(f"context {number}"),
            "scenario": scenario,
            "model": model,
            "box": box,
            "box_key": _hash(box)[:12],
            "facts": canonical_json(facts).decode(),
        }
        return self._insert(schema.context, {**row, **fields})

    def device(self, name: str = "", **fields: Any) -> int:
        """Adds a device that was seen a day ago and is well."""
        number = self._next("device")
        condition = Condition(fields.get("condition", Condition.OK))
        row = {
            "name": name or f"box-{number:04d}",
            "enrolled_ms": NOW_MS - 200 * DAY_MS,
            "seen_ms": NOW_MS - DAY_MS,
            "reported_ms": NOW_MS - DAY_MS,
            "grade": "A",
            "box": "Raspberry Pi 4",
            "reports": 1,
            "condition": str(condition),
            "rank": RANKS[condition],
        }
        return self._insert(schema.device, {**row, **fields})

    def standing(
        self, device_id: int, setup_id: int, context_id: int, p50_ns: int | None, **fields: Any
    ) -> None:
        """Adds the newest run of a device for a setup and a context."""
        row = {
            "device_id": device_id,
            "setup_id": setup_id,
            "context_id": context_id,
            "trust": "trusted",
            "created_ms": NOW_MS - DAY_MS,
            "runs": 1,
            "p50_ns": p50_ns,
            "p99_ns": None if p50_ns is None else 2 * p50_ns,
            "ready_ns": 2_000_000_000,
            "rss_peak_bytes": 80_000_000,
        }
        self._insert(schema.standing, {**row, **fields}, key=False)

    def report(self, device_id: int, setup_id: int, **fields: Any) -> int:
        """Adds a report with its document."""
        number = self._next("report")
        created_ms = fields.pop("created_ms", NOW_MS - DAY_MS)
        body = fields.pop("body", b"{}")
        row = {
            "report_id": f"00000000-0000-4000-8000-{number:012d}",
            "sha256": "c" * 64,
            "device_id": device_id,
            "received_ms": created_ms + 1000,
            "created_ms": created_ms,
            "clock_off": False,
            "setup_id": setup_id,
            "grade": "A",
            "reasons": "[]",
            "emulated": False,
            "golden_ok": True,
            "condition": "ok",
            "init_ns": 1_000_000,
            "first_inference_ns": 2_000_000,
            "ready_ns": 900_000_000,
            "rss_peak_bytes": 80_000_000,
            "temperature_mc": 55_000,
            "throttled": False,
        }
        key = self._insert(schema.report, {**row, **fields})
        codec, packed = pack(body)
        document = {"report_id": key, "codec": str(codec), "body": packed}
        self._insert(schema.document, document, key=False)
        return key

    def run(self, report_id: int, context_id: int, p50_ns: int = 1_000_000, **fields: Any) -> int:
        """Adds a run to a report."""
        of = self._one(schema.report, report_id)
        row = {
            "report_id": report_id,
            "device_id": of.device_id,
            "context_id": context_id,
            "created_ms": of.created_ms,
            "valid": True,
            "queries": 1000,
            "mean_ns": p50_ns,
            "p50_ns": p50_ns,
            "p90_ns": p50_ns + 1,
            "p95_ns": p50_ns + 2,
            "p99_ns": 2 * p50_ns,
            "p999_ns": None,
        }
        return self._insert(schema.run, {**row, **fields})

    def history(self, device_id: int, setup_id: int, context_id: int, day: int) -> None:
        """Adds a day from before the reports."""
        row = {
            "device_id": device_id,
            "setup_id": setup_id,
            "context_id": context_id,
            "trust": "trusted",
            "day": day,
            "runs": 2,
            "p50_min_ns": 900,
            "p50_ns": 1000,
            "p50_max_ns": 1100,
            "throttled": 0,
        }
        self._insert(schema.history, row, key=False)

    def boxes(
        self, setup_id: int, context_id: int, latencies_ns: list[int | None], **fields: Any
    ) -> list[int]:
        """Adds a device for each latency with its newest run."""
        devices = [self.device() for _ in latencies_ns]
        for device_id, latency_ns in zip(devices, latencies_ns, strict=True):
            self.standing(device_id, setup_id, context_id, latency_ns, **fields)
        return devices

    def digest(self, context_id: int) -> str:
        """Returns a context's digest."""
        return str(self._one(schema.context, context_id).digest)

    def bundle(self, release_id: int) -> str:
        """Returns a release's bundle id."""
        return str(self._one(schema.release, release_id).bundle_id)

    def connect(self) -> Connection:
        """Commits what was added, and opens a connection for reading."""
        self._open.commit()
        return self._engine.connect()

    def _one(self, table: Table, key: int) -> Any:
        return self._open.execute(select(table).where(table.c.id == key)).one()

    def _next(self, kind: str) -> int:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._counts[kind]

    def _insert(self, table: Table, row: Mapping[str, Any], *, key: bool = True) -> int:
        result = self._open.execute(insert(table).values(row))
        return int(result.inserted_primary_key[0]) if key else 0  # type: ignore[index]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
