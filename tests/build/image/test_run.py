from __future__ import annotations

import pytest

from edgepack.build.image.run import check_result
from edgepack.build.process import ChildResult
from edgepack.formats.errors import ImageError


def ended(stderr: str, returncode: int = 1) -> ChildResult:
    return ChildResult(returncode, False, False, "", stderr, 0, 1.0)


#: Last words of the tools as they were seen, or as their sources and issues have them.
SAID = [
    ("write /tmp/x: no space left on device", "the disk is full", "free some space"),
    ("exec /usr/bin/python3: exec format error", "the kernel cannot start", "--build-base"),
    (
        'error running container: exec: "python3": executable file not found in $PATH',
        "has no python3",
        "--build-base",
    ),
    ("OCI exporter is not supported for the docker driver", "no image files", "buildx create"),
    ("Cannot connect to the Docker daemon at unix:///x", "daemon does not answer", "start docker"),
    ("unauthorized: authentication required", "a registry refuses", "buildah login"),
    ("reading manifest x: manifest unknown", "is not there", "--base"),
    ("dial tcp: lookup reg.example: no such host", "cannot be reached", "network"),
    (
        "error running container: from /usr/bin/crun: cgroups in hybrid mode not supported",
        "may not do this here",
        "BUILDAH_ISOLATION=chroot",
    ),
    (
        "STEP RUN /bundle.pyz stage\nerror: this bundle needs x 1 from the box\nhint: three ways\n",
        "the bundle cannot be unpacked: this bundle needs x 1",
        "three ways",
    ),
    ("something nobody has seen", "something nobody has seen", "the command was: buildah bud"),
]


@pytest.mark.parametrize(("said", "meaning", "advice"), SAID)
def test_a_tools_last_words_are_told_with_what_they_mean(
    said: str, meaning: str, advice: str
) -> None:
    with pytest.raises(ImageError) as caught:
        check_result(["buildah", "bud"], ended(said))
    assert meaning in caught.value.message
    assert advice in str(caught.value.hint)
    assert caught.value.exit_code == 10


def test_success_is_no_error() -> None:
    check_result(["buildah", "bud"], ended("warning: no space left on device", 0))
