from __future__ import annotations

import pytest

from edgepack.build.image.platforms import Platform, platform_of
from edgepack.build.image.registry import is_loopback


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.example", "127.0.0.1.example:5000", "reg.example", "10.0.0.1", "127.1"]
)
def test_plain_http_is_for_no_other(host: str) -> None:
    assert not is_loopback(host)


def test_a_targets_platform_is_in_the_words_of_images() -> None:
    assert str(platform_of("aarch64")) == "linux/arm64"
    assert str(platform_of("x86_64")) == "linux/amd64"
    assert Platform("linux", "arm64").fits({"os": "linux", "architecture": "arm64"})
    assert not Platform("linux", "arm64").fits({"os": "linux", "architecture": "arm"})
