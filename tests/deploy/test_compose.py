"""The Compose files: valid by the published specification, and true of the runner they start."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema

from edgepack.runner.settings import parse_settings
from tests.deploy.manifests import DEPLOY, image_says, load_document

_COMPOSE = DEPLOY / "compose"


@pytest.fixture(scope="module")
def schema() -> Any:
    return get_builtin_schema("vendor.compose-spec")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml", "compose.hub.yaml"])
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


def test_hub_prometheus_and_grafana_are_reached_from_this_machine_alone() -> None:
    services = load_document(_COMPOSE / "compose.hub.yaml")["services"]
    assert set(services) == {"hub", "prometheus", "grafana"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_the_hubs_image_is_made_of_is_what_the_wheel_is_made_of() -> None:
    build = load_document(_COMPOSE / "compose.hub.yaml")["services"]["hub"]["build"]
    copied = re.findall(r"^COPY (.+) /src", build["dockerfile_inline"], re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    repository = (_COMPOSE / build["context"]).resolve()
    wheel = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    made_of = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = wheel["project"]
    needed = {*made_of["packages"], *made_of["force-include"], project["readme"]}
    assert names == needed | {"pyproject.toml", *project["license-files"]}
    assert all((repository / name).exists() for name in names)


def test_what_is_mounted_beside_the_hub_is_there_and_where_it_is_looked_for() -> None:
    document = load_document(_COMPOSE / "compose.hub.yaml")
    services = document["services"]
    mounts = [each for service in services.values() for each in service["volumes"]]
    for mount in mounts:
        source = mount.split(":")[0]
        if source.startswith("../"):
            assert (_COMPOSE / source).exists(), mount
    (provider,) = load_document(
        DEPLOY / "grafana" / "provisioning" / "dashboards" / "edgepack.yml"
    )["providers"]
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in mounts
    (source,) = load_document(
        DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    )["datasources"]
    assert source["url"].strip("${}") in services["grafana"]["environment"]
    port = services["hub"]["command"][-1]
    assert document["configs"]["hubs"]["content"] == f'- targets: ["hub:{port}"]\n'


def test_the_file_says_what_the_image_says() -> None:
    service = load_document(_COMPOSE / "compose.yaml")["services"]["recommender"]
    assert service["healthcheck"]["test"] == ["CMD", *image_says("HEALTHCHECK")]
    assert service["user"] == image_says("USER")
    assert service["stop_signal"] == image_says("STOPSIGNAL")
    assert [each.split(":")[1] for each in service["volumes"]] == image_says("VOLUME")
    assert {each.split(":")[-1] for each in service["ports"]} == {image_says("EXPOSE")}
    assert service["command"][:3] == image_says("CMD")


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
