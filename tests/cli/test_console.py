"""Sizes and shares as people read them."""

from __future__ import annotations

import pytest

from edgepack.cli.console import format_bytes, format_share


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (499, "499 B"),
        (1000, "1 kB"),
        (153_200, "153 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (11_123_456, "11.1 MB"),
    ],
)
def test_bytes_are_written_with_their_unit(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


def test_a_share_that_was_not_measured_is_a_dash() -> None:
    assert (format_share(None), format_share(0.98765)) == ("-", "0.988")
