from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.build.image.reference import Reference, parse_reference
from edgepack.formats.errors import ConfigError

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("session", Reference("docker.io", "library/session", "latest", None, qualified=False)),
        ("shop/session:1", Reference("docker.io", "shop/session", "1", None, qualified=False)),
        ("localhost/a:1", Reference("localhost", "a", "1")),
        ("127.0.0.1:5000/a/b:1.0.0-x_y", Reference("127.0.0.1:5000", "a/b", "1.0.0-x_y")),
        ("reg.example/a", Reference("reg.example", "a", "latest")),
        (f"reg.example/a@{DIGEST}", Reference("reg.example", "a", None, DIGEST)),
        (f"reg.example:80/a:1@{DIGEST}", Reference("reg.example:80", "a", "1", DIGEST)),
        ("[::1]:5000/a:1", Reference("[::1]:5000", "a", "1")),
    ],
)
def test_a_name_is_taken_apart_as_the_tools_do(text: str, expected: Reference) -> None:
    assert parse_reference(text, "--tag") == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a name"),
        ("Session:1", "small letters"),
        ("reg.example/Shop/session", "small letters"),
        ("reg.example/a:", "the tag ''"),
        ("reg.example/a:b c", "the tag"),
        ("reg.example/a:.x", "the tag"),
        (f"reg.example/a:{'x' * 129}", "the tag"),
        ("reg.example/a@sha256:12", "the digest"),
        ("reg.example//a", "not a name"),
        ("https://reg.example/a", "is no image name"),
        ("reg_x.example/a:1", "host and port"),
        (f"reg.example/{'a' * 256}", "longer than 255"),
        ("a b", "not a name"),
        (f"{'a' * 64}.example/a:1", "longer than 63"),
        ("../a", "is no image name"),
    ],
)
def test_a_wrong_name_is_refused_with_the_part_that_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_reference(text, "--tag")
    assert why in caught.value.message
    assert str(caught.value.hint).startswith("write it like --tag ")


@given(st.text(max_size=40))
def test_any_text_is_a_name_that_reads_the_same_again_or_refused(text: str) -> None:
    try:
        found = parse_reference(text, "--tag")
    except ConfigError:
        return
    again = parse_reference(str(found), "--tag")
    assert (again.name, again.tag, again.digest) == (found.name, found.tag, found.digest)
