"""Apps over simulated engines, asked without a socket, for the tests of both tensor protocols."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array, Engine, check_inputs
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job, Later
from edgepack.runner.http.messages import Response
from edgepack.runner.http.serving import make_app
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.models import LiveModels
from edgepack.runner.log import Log
from edgepack.runner.recommender import open_recommender
from edgepack.runner.release import Release
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release

JSON_HEADERS = {"content-type": "application/json"}


class EchoEngine:
    """An engine that returns its inputs, of whatever types and shapes."""

    def __init__(self, *specs: TensorSpec) -> None:
        self.inputs = specs
        self.outputs = tuple(replace(spec, name=f"same_{spec.name}") for spec in specs)
        self.name = "onnxruntime"
        self.version = "0.0-simulated"
        self.provider = "simulator"
        self.threads = 1
        self.fallback: str | None = None
        self.options = EngineOptions()
        self.calls = 0

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        check_inputs(self.inputs, inputs)
        self.calls += 1
        return [array.copy() for array in inputs]

    def close(self) -> None:
        pass


class Served:
    """An app and what a client can do with it.

    Attributes:
        live: The stable release.
        app: The app over it.
        clock: Moves when it is told to, and 1000 ns with each look.
        log: What was logged.
    """

    def __init__(
        self, live: LiveModel, canary: LiveModel | None = None, token: str | None = None
    ) -> None:
        self.clock = HandClock(step_ns=1000)
        self.log = io.StringIO()
        self.live = live
        self.app: App = make_app(
            LiveModels(live, canary), self.clock, Log(self.log, self.clock), token=token
        )

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Response:
        """Asks as the server does."""
        request = Request(
            method,
            path,
            JSON_HEADERS if headers is None else headers,
            body,
            keep_alive=True,
            http_1_0=False,
        )
        answer = self.app.answer(request)
        if isinstance(answer, Later):
            return asyncio.run(self.app.finish(answer))
        if isinstance(answer, Job):
            job, answer = answer, self.app.run(answer)
            self.app.count(job, answer)
        return answer

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Posts JSON and reads JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _read(self.send("POST", path, data))

    def get(self, path: str) -> tuple[int, Any]:
        """Gets JSON."""
        return _read(self.send("GET", path))


def _read(response: Response) -> tuple[int, Any]:
    return response.status, json.loads(response.body) if response.body else None


def recommender_live(directory: Path, engine: SimulatedEngine | None = None) -> LiveModel:
    """A recommender's release over the simulated engine."""
    engine = engine or SimulatedEngine()
    release = simulated_release(directory)
    return LiveModel(release, engine, open_recommender(release, engine, HandClock()), 1000)


def tensor_live(directory: Path, engine: Engine) -> LiveModel:
    """A tensor model's release over an engine of any signature."""
    release = simulated_release(directory, kind_tensor=True)
    return LiveModel(as_made_for(release, engine), engine, None, 1000)


def as_made_for(release: Release, engine: Engine) -> Release:
    """A release whose manifest says what the engine says."""
    candidate = replace(release.candidate, inputs=engine.inputs, outputs=engine.outputs)
    return replace(release, candidate=candidate)


def versioned(live: LiveModel, version: str) -> LiveModel:
    """The same release under another version."""
    manifest = live.release.manifest
    manifest = replace(manifest, model=replace(manifest.model, version=version))
    live.release = replace(live.release, manifest=manifest)
    return live


def numbers(dtype: str, count: int) -> Array:
    """Some numbers of an element type."""
    return np.arange(count).astype(dtype)
