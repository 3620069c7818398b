"""What the server and its model are: metadata, configuration, health.

It is not aware of tensors' values. Used by `routes`.

Source: Open Inference Protocol V2, "Server Metadata", "Model Metadata" and "Health"; Triton,
docs/protocol/extension_model_configuration.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import edgepack
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format
from edgepack.runner.http.app import App
from edgepack.runner.http.messages import Response, json_response
from edgepack.runner.http.tensors.datatypes import BY_NUMPY
from edgepack.runner.http.v2.lookup import engine_of, find_live
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.signature import Batching

SERVER_NAME = "edgepack-runner"
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
#: `<project>_<format>`, as the protocol lists them; it has no entry for TFLite.
_PLATFORMS = {Format.ONNX: "onnx_onnxv1", Format.TFLITE: "tensorflow_tflite"}


def server_metadata(_app: App, _request: Request, _parameters: Sequence[str]) -> Response:
    """Answers `GET /v2`."""
    return json_response(
        {"name": SERVER_NAME, "version": edgepack.__version__, "extensions": list(EXTENSIONS)}
    )


def server_live(_app: App, _request: Request, _parameters: Sequence[str]) -> Response:
    """Answers `GET /v2/health/live`: whoever answers lives."""
    return json_response({"live": True})


def server_ready(app: App, _request: Request, _parameters: Sequence[str]) -> Response:
    """Answers `GET /v2/health/ready`: 200, or 503 on the way out or without a loaded model."""
    ready = not app.stopping and app.models.stable.usable_engine is not None
    # The protocol's text has `live` here, its clients look at the status.
    return json_response({"live": True, "ready": ready}, _status(ready=ready))


def model_ready(app: App, _request: Request, parameters: Sequence[str]) -> Response:
    """Answers `GET /v2/models/…/ready`: 200, or 503 when the model was unloaded."""
    live = find_live(app, *parameters)
    ready = not app.stopping and live.usable_engine is not None
    return json_response({"name": live.name, "ready": ready}, _status(ready=ready))


def model_metadata(app: App, _request: Request, parameters: Sequence[str]) -> Response:
    """Answers `GET /v2/models/…`."""
    live = find_live(app, *parameters)
    engine_of(live)
    signature = live.signature
    versions = dict.fromkeys(each.version for _, each in app.models.all())
    return json_response(
        {
            "name": live.name,
            "versions": list(versions),
            "platform": _platform(live),
            "inputs": [_tensor(spec) for spec in signature.inputs],
            "outputs": [_tensor(spec) for spec in signature.outputs],
        }
    )


def model_config(app: App, _request: Request, parameters: Sequence[str]) -> Response:
    """Answers `GET /v2/models/…/config` with what a box has of Triton's model configuration."""
    live = find_live(app, *parameters)
    engine_of(live)
    signature = live.signature
    has_batch = signature.batching is not Batching.NONE
    backend = str(live.release.manifest.runtime.name)
    shared = {"dynamic_batching": {"preferred_batch_size": [live.sizes.most]}}
    return json_response(
        {
            **(shared if live.sizes.most > 1 else {}),
            "name": live.name,
            "platform": _platform(live),
            "backend": backend,
            "version_policy": {"latest": {"num_versions": len(app.models.all())}},
            "max_batch_size": signature.max_rows if has_batch else 0,
            "input": [_config(spec, has_batch=has_batch) for spec in signature.inputs],
            "output": [_config(spec, has_batch=has_batch) for spec in signature.outputs],
            "instance_group": [{"name": live.name, "kind": "KIND_CPU", "count": 1}],
            "default_model_filename": live.release.model_path.name,
        }
    )


def _status(*, ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def _platform(live: LiveModel) -> str:
    return _PLATFORMS[live.release.candidate.format]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": BY_NUMPY[spec.dtype].v2,
        "shape": list(spec.shape),
    }


def _config(spec: TensorSpec, *, has_batch: bool) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": f"TYPE_{BY_NUMPY[spec.dtype].v2}",
        "dims": list(spec.shape[1:] if has_batch else spec.shape),
    }
