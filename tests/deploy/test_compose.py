"""The Compose files: valid by the published specification, and true of the runner they start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema

from edgepack.runner.settings import parse_settings
from tests.deploy.manifests import DEPLOY, load_document

_COMPOSE = DEPLOY / "compose"


@pytest.fixture(scope="module")
def schema() -> Any:
    return get_builtin_schema("vendor.compose-spec")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_a_file_fits_the_published_schema(name: str, schema: Any) -> None:
    jsonschema.validate(load_document(_COMPOSE / name), schema)


def test_the_check_sees_a_key_that_is_wrong(schema: Any) -> None:
    wrong = load_document(_COMPOSE / "compose.yaml")
    wrong["services"]["recommender"]["read_onyl"] = True
    with pytest.raises(jsonschema.ValidationError, match="read_onyl"):
        jsonschema.validate(wrong, schema)


def test_the_service_is_reached_from_the_box_alone_and_may_write_only_its_state() -> None:
    service = load_document(_COMPOSE / "compose.yaml")["services"]["recommender"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["state:/var/lib/edgepack"]


def test_the_settings_are_ones_the_runner_takes() -> None:
    path = DEPLOY / "runner.toml"
    document = load_document(_COMPOSE / "compose.yaml")
    named = _COMPOSE / document["configs"]["settings"]["file"]
    assert named.resolve() == path
    assert parse_settings(path.read_bytes(), Path("runner.toml")).bench.every_days == 7


def test_what_the_settings_only_suggest_is_taken_too() -> None:
    lines = (DEPLOY / "runner.toml").read_text(encoding="utf-8").splitlines()
    suggested = [line.removeprefix("# ") for line in lines if re.match(r"# (\[|\w+ = )", line)]
    settings = parse_settings("\n".join(suggested).encode(), Path("runner.toml"))
    assert settings.hub.url == "https://hub.example/api/reports"
    assert settings.serve.token_file == Path("/run/secrets/serve-token")
