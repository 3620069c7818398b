"""A hub as far as Prometheus sees one: the real counters over a real store, on a real server.

What a report is and who may send it is not looked at; the store is filled by hand.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from sqlalchemy import Engine, insert

from edgepack.hub.answers.health import RANKS, Condition
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.engine import open_engine, writing
from edgepack.hub.store.migrating import migrate
from edgepack.hub.store.schema import context, device, release, setup, standing
from edgepack.hub.web.metrics import CountingRequests, Metrics, Refusal, Taken
from edgepack.hub.web.metrics.store import StoreCollector

TOKEN = "a-readers-token"
_DEVICES = 20
_START_S = 60.0


@contextlib.contextmanager
def counting_hub(folder: Path) -> Iterator[int]:
    """Runs it on loopback and yields its port."""
    engine = open_engine(folder / "hub.db")
    migrate(engine)
    _fill(engine)
    config = uvicorn.Config(_application(engine), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + _START_S
        while not server.started:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        engine.dispose()


def _application(engine: Engine) -> FastAPI:
    app, metrics = FastAPI(), Metrics()
    metrics.add(StoreCollector.over(engine, lambda: time.time_ns() // 1_000_000))
    metrics.watch_queue(lambda: 0, limit=1000)
    app.add_middleware(CountingRequests, metrics=metrics)
    seen: set[bytes] = set()

    @app.post("/api/reports")
    async def _reports(request: Request) -> Response:
        body = await request.body()
        if not body.startswith(b"{"):
            metrics.count_refused(Refusal.MALFORMED)
            return Response(status_code=400)
        known = body in seen
        seen.add(body)
        metrics.observe_commit(1, 0.001)
        metrics.observe_ingest(0.002)
        metrics.count_taken(Taken.SEEN if known else Taken.NEW)
        return Response(status_code=200 if known else 201)

    @app.get("/metrics")
    def _metrics(request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        text, kind = metrics.exposition()
        return Response(text, media_type=kind)

    return app


def _fill(engine: Engine) -> None:
    now_ms, digest = time.time_ns() // 1_000_000, f"{1:064x}"
    with writing(engine).begin() as connection:
        facts = {"model": "session", "first_seen_ms": now_ms, "architecture": "sasrec"}
        facts |= {"bundle_id": digest, "target": "arm64", "target_sha256": digest, "version": "1"}
        connection.execute(insert(release).values(facts))
        connection.execute(
            insert(setup).values(
                digest=digest,
                release_id=1,
                variant="int8",
                format="tflite",
                precision="int8",
                model_sha256=digest,
                size_bytes=1,
                runtime="litert",
                runtime_version="2",
                provider="cpu",
                threads=1,
                options="{}",
                quality="{}",
            )
        )
        connection.execute(
            insert(context).values(
                digest=digest,
                scenario="SingleStream",
                model="session",
                box="a box",
                box_key="k",
                facts="{}",
            )
        )
        for i in range(_DEVICES):
            condition = Condition.THROTTLED if i == 0 else Condition.OK
            row = {"name": f"box-{i:04}", "enrolled_ms": now_ms, "seen_ms": now_ms, "reports": 1}
            row |= {"condition": str(condition), "rank": RANKS[condition], "release_id": 1}
            connection.execute(insert(device).values(row))
            told: dict[str, object] = {
                "device_id": i + 1,
                "setup_id": 1,
                "context_id": 1,
                "created_ms": now_ms,
            }
            told |= {"trust": str(Standing.TRUSTED), "runs": 1}
            connection.execute(insert(standing).values(told))
