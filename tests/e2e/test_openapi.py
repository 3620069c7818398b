"""The written description of the Open Inference Protocol, held against the runner."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import make_onnx, write_real_release
from tests.e2e.runners import Served, serving

_DESCRIPTION = Path(__file__).resolve().parents[2] / "docs" / "openapi-v2.yaml"
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


def _schema() -> Any:
    """The description, whose model and version are mostly those that are there."""
    described = schemathesis.openapi.from_path(_DESCRIPTION).raw_schema
    changed: dict[str, Any] = copy.deepcopy(dict(described))
    parameters = changed["components"]["parameters"]
    parameters["model"]["schema"] = {"type": "string", "enum": ["tiny", "no-such-model"]}
    versions = ["1.0.0", "1000000", "stable", "9"]
    parameters["version"]["schema"] = {"type": "string", "enum": versions}
    # Loading and unloading have tests of their own, and take the model away from the others.
    return schemathesis.openapi.from_dict(changed).exclude(
        operation_id=["loadModel", "unloadModel"]
    )


schema = _schema()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    release = tmp_path_factory.mktemp("release")
    model = make_onnx(tmp_path_factory.mktemp("model"))
    write_real_release(release, model, RuntimeName.ONNXRUNTIME)
    with serving(release) as running:
        yield running


# The library's decorators have no types.
@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_as_described(case: Any, served: Served) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{served.port}", checks=_CHECKS)


def test_the_descriptions_own_example_is_answered(served: Served) -> None:
    example = schema.raw_schema["components"]["schemas"]["inference_request"]["example"]
    status, body = served.ask("POST", "/v2/models/tiny/infer", example)
    assert (status, body["id"]) == (200, example["id"])
    assert [each["name"] for each in body["outputs"]] == ["items"]
