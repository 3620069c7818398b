"""The Kubernetes manifests: valid for clusters in use, and true of the runner they start."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from edgepack.build.targets import load_target
from edgepack.runner.settings import parse_settings
from tests.deploy.manifests import KUBERNETES, RUNNERS, load_documents, runner_of
from tests.runner.http.apps import Served, recommender_live

_FILES = sorted(KUBERNETES.glob("*.yaml"))
#: The oldest and the newest release whose schemas the package has of those still met in shops.
_RELEASES = ("1.28", "1.34")


@pytest.mark.parametrize("release", _RELEASES)
@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_a_manifest_fits_the_published_schemas(path: Path, release: str) -> None:
    for document in load_documents(path):
        kubernetes_validate.validate(document, release, strict=True)


def test_the_check_sees_a_key_that_is_wrong() -> None:
    wrong = copy.deepcopy(runner_of("arm64"))
    wrong["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="redinessProbe"):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


@pytest.mark.parametrize("kind", RUNNERS)
def test_the_labels_a_set_selects_by_are_those_of_its_pods(kind: str) -> None:
    spec = runner_of(kind)["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_no_node_gets_two_runners() -> None:
    selectors = [runner_of(kind)["spec"]["template"]["spec"]["nodeSelector"] for kind in RUNNERS]
    places = {(each["kubernetes.io/arch"], each["edgepack/box"]) for each in selectors}
    assert places == {("arm64", "yes"), ("amd64", "yes"), ("amd64", "gpu")}


def test_the_service_finds_every_kind_of_runner_and_only_on_its_own_node() -> None:
    (service,) = (
        each for each in load_documents(KUBERNETES / "edgepack.yaml") if each["kind"] == "Service"
    )
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    for kind in RUNNERS:
        labels = runner_of(kind)["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_probe_asks_what_the_runner_answers_without_a_token(kind: str, tmp_path: Path) -> None:
    served, container = Served(recommender_live(tmp_path), token="secret"), _container(kind)
    assert served.send("GET", "/metrics").status == 401
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[name]["httpGet"]["path"]
        assert served.send("GET", path).status == 200, (name, path)


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_pod_has_no_rights_and_only_its_state_to_write_to(kind: str) -> None:
    pod, container = runner_of(kind)["spec"]["template"]["spec"], _container(kind)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["/var/lib/edgepack"]


def test_the_settings_are_ones_the_runner_takes() -> None:
    (settings,) = (
        each for each in load_documents(KUBERNETES / "edgepack.yaml") if each["kind"] == "ConfigMap"
    )
    text = settings["data"]["runner.toml"]
    assert parse_settings(text.encode(), Path("runner.toml")).bench.every_days == 7


@pytest.mark.parametrize(("kind", "target"), [("arm64", "arm64"), ("amd64", "cpu"), ("gpu", "gpu")])
def test_a_pod_may_not_take_more_than_half_of_the_smallest_box(kind: str, target: str) -> None:
    limit = _container(kind)["resources"]["limits"]["memory"]
    unit = {"Mi": 2**20, "Gi": 2**30}[limit[-2:]]
    # The systemd unit's MemoryMax is half of the box, too; 4 GiB is a little over 4,000 MB.
    assert int(limit[:-2]) * unit <= 0.54 * load_target(target).memory_mb * 10**6


def test_the_kinds_of_nodes_differ_in_nothing_but_what_they_are() -> None:
    arm64, amd64 = (_without_kind(runner_of(kind)) for kind in ("arm64", "amd64"))
    assert arm64 == amd64
    gpu = _without_kind(runner_of("gpu"))
    pod = gpu["spec"]["template"]["spec"]
    assert pod.pop("runtimeClassName") == "nvidia"
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    container["resources"] = amd64["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert gpu == amd64


def _container(kind: str) -> Any:
    (container,) = runner_of(kind)["spec"]["template"]["spec"]["containers"]
    return container


def _without_kind(manifest: Any) -> Any:
    del manifest["metadata"]["name"], manifest["metadata"]["labels"]
    del manifest["spec"]["selector"], manifest["spec"]["template"]["metadata"]["labels"]
    del manifest["spec"]["template"]["spec"]["nodeSelector"]
    return manifest
