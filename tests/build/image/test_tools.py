from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.image.platforms import Platform
from edgepack.build.image.tools import Buildah, BuildJob, Docker, Podman, find_tool
from edgepack.formats.errors import MissingToolError

JOB = BuildJob(
    context=Path("/c"),
    platform=Platform("linux", "arm64"),
    layout=Path("/l"),
    draft="localhost/draft:1",
    epoch=7,
    build_args={"BUNDLE": "bundle.pyz"},
    labels={"a": "b c"},
    plain_http=True,
)
COMMON = [
    *("--platform", "linux/arm64", "--file", "/c/Dockerfile", "--build-arg", "BUNDLE=bundle.pyz"),
    *("--label", "a=b c", "/c"),
]


def test_docker_writes_the_layout_itself_with_every_time_fixed() -> None:
    (command,) = Docker().build(JOB)
    assert command == [
        *("docker", "buildx", "build", "--provenance=false", "--sbom=false"),
        *("--build-arg", "SOURCE_DATE_EPOCH=7"),
        *("--output", "type=oci,dest=/l,tar=false,rewrite-timestamp=true"),
        *COMMON,
    ]
    assert Docker().clean(JOB) == []
    assert Docker().load(Path("/a.tar")) == ["docker", "load", "--input", "/a.tar"]


@pytest.mark.parametrize(
    ("tool", "verb", "load"),
    [
        (Buildah(), "bud", ["buildah", "pull", "--quiet", "oci-archive:/a.tar"]),
        (Podman(), "build", ["podman", "load", "--input", "/a.tar"]),
    ],
)
def test_buildah_and_podman_build_under_a_drafts_name_and_remove_it(
    tool: Buildah, verb: str, load: list[str]
) -> None:
    build, push = tool.build(JOB)
    assert build == [
        *(tool.name, verb, "--layers", "--force-rm", "--format", "oci", "--timestamp", "7"),
        *("--tag", "localhost/draft:1", "--tls-verify=false"),
        *COMMON,
    ]
    assert push == [tool.name, "push", "localhost/draft:1", "oci:/l:image"]
    assert tool.clean(JOB) == [[tool.name, "rmi", "--force", "localhost/draft:1"]]
    assert tool.load(Path("/a.tar")) == load


def test_the_first_tool_that_is_there_is_taken() -> None:
    def here(*names: str) -> object:
        return lambda name: f"/bin/{name}" if name in names else None

    def pick(*names: str, buildx: bool = True) -> str:
        return find_tool(None, here(*names), lambda: buildx).name  # type: ignore[arg-type]

    assert pick("docker", "podman", "buildah") == "docker"
    assert pick("docker", "podman", "buildah", buildx=False) == "podman"
    assert pick("buildah") == "buildah"


def test_no_tool_is_an_error_that_names_one_to_install() -> None:
    with pytest.raises(MissingToolError, match="no container tool") as caught:
        find_tool(None, lambda name: None, lambda: False)
    assert caught.value.exit_code == 4
    assert "apt install" in str(caught.value.hint)
    with pytest.raises(MissingToolError, match="podman is not installed"):
        find_tool("podman", lambda name: None, lambda: False)
    with pytest.raises(MissingToolError, match="without buildx"):
        find_tool("docker", lambda name: name, lambda: False)
