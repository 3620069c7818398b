"""Finds the model of a path, and tells its versions' state and its signature.

It is not aware of requests' bodies. Used by `routes` and `predict`.

Source: tensorflow_serving/model_servers/get_model_status_impl.cc and http_rest_api_util.cc;
apis/get_model_status.proto, get_model_metadata.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Engine
from edgepack.runner.http.app import App
from edgepack.runner.http.messages import Response, json_response
from edgepack.runner.http.tensors.datatypes import BY_NUMPY
from edgepack.runner.http.tfs.document import refuse
from edgepack.runner.http.tfs.request import SIGNATURE_NAME
from edgepack.runner.live.model import LiveModel

PREDICT_METHOD = "tensorflow/serving/predict"
_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelPath:
    """What a path names.

    Attributes:
        name: The model.
        version: Digits, or ''.
        label: `stable`, `canary`, or ''.
    """

    name: str
    version: str
    label: str

    @classmethod
    def of(cls, name: str, version: str, label: str) -> ModelPath:
        """Makes one of a pattern's groups.

        Raises:
            RefusalError: 400, the version is no 64-bit number.
        """
        if version and (
            len(version) > len(str(_LARGEST_VERSION)) or int(version) > _LARGEST_VERSION
        ):
            refuse(f"Failed to convert version: {version[:80]} to numeric.")
        return cls(unquote(name), version, unquote(label))

    def __str__(self) -> str:
        if self.version:
            return f"Specific({self.name[:80]}, {int(self.version)})"
        return f"Latest({self.name[:80]})"


def find_servable(app: App, path: ModelPath) -> tuple[LiveModel, Engine]:
    """Finds the release that answers, and its engine.

    Raises:
        RefusalError: 404, there is none, or it was unloaded; 400 for an unknown label.
    """
    live = _find(app, path)
    engine = None if live is None else live.usable_engine
    if live is None or engine is None:
        refuse(f"Servable not found for request: {path}", HTTPStatus.NOT_FOUND)
    return live, engine


def model_status(app: App, path: ModelPath) -> Response:
    """Answers `GET /v1/models/…`: the state of all versions, or of one.

    Raises:
        RefusalError: 404, there is none; 400 for an unknown label.
    """
    if path.version or path.label:
        live = _find(app, path)
        if live is None:
            refuse(
                f"Could not find version {int(path.version or 0)} of model {path.name[:80]}",
                HTTPStatus.NOT_FOUND,
            )
        shown: Iterable[LiveModel] = [live]
    elif path.name != app.models.name:
        refuse(f"Could not find any versions of model {path.name[:80]}", HTTPStatus.NOT_FOUND)
    else:
        by_number: dict[int, LiveModel] = {}
        for _, live in app.models.all():
            by_number.setdefault(live.number, live)
        shown = [by_number[number] for number in sorted(by_number, reverse=True)]
    return json_response(
        {
            "model_version_status": [
                {
                    "version": str(live.number),
                    "state": _state(live),
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for live in shown
            ]
        }
    )


def model_metadata(app: App, path: ModelPath) -> Response:
    """Answers `GET /v1/models/…/metadata`.

    Raises:
        RefusalError: 404, there is no such model, or it was unloaded.
    """
    live, _ = find_servable(app, path)
    signature = {
        "inputs": _tensors(live.signature.inputs),
        "outputs": _tensors(live.signature.outputs),
        "method_name": PREDICT_METHOD,
        "defaults": {},
    }
    return json_response(
        {
            "model_spec": {
                "name": live.name,
                "signature_name": "",
                "version": str(live.number),
            },
            "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: signature}}},
        }
    )


def _find(app: App, path: ModelPath) -> LiveModel | None:
    if path.label:
        live = app.models.labelled(path.label) if path.name == app.models.name else None
        if live is None:
            refuse(f"Unrecognized servable version label: {path.label[:80]}")
        return live
    if path.name != app.models.name:
        return None
    return app.models.versioned(str(int(path.version))) if path.version else app.models.stable


def _state(live: LiveModel) -> str:
    if live.engine is None:
        return "END"
    return "UNLOADING" if live.withdrawn else "AVAILABLE"


def _tensors(specs: Sequence[TensorSpec]) -> dict[str, Any]:
    return {
        spec.name: {
            "dtype": f"DT_{BY_NUMPY[spec.dtype].tensorflow.upper()}",
            "tensor_shape": {
                "dim": [{"size": str(extent), "name": ""} for extent in spec.shape],
                "unknown_rank": False,
            },
            "name": f"{spec.name}:0",
        }
        for spec in specs
    }
