"""What the box makes of the hub's answers and certificates, without a network."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import ConfigError
from edgepack.runner.reports.delivery import Delivery, Verdict
from edgepack.runner.reports.transport import HttpTransport, parse_retry_after

_DAY_S = 86_400.0
_NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_SENT = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("", "", None),
        ("120", "", 120.0),
        (" 0 ", "", 0.0),
        ("99999999999999999999", "", _DAY_S),
        ("-5", "", None),
        ("1.5", "", None),
        ("soon", "", None),
        ("\u0663", "", None),
        # The box's clock is three hours behind the hub's: only the difference counts.
        ("Mon, 23 Nov 2026 12:02:00 GMT", _SENT, 120.0),
        ("Mon, 23 Nov 2026 09:02:00 GMT", "", 120.0),
        ("Mon, 23 Nov 2026 09:02:00 GMT", "yesterday", 120.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", _SENT, 0.0),
        ("Mon, 23 Nov 2026 13:02:00 +0100", _SENT, 120.0),
        ("Fri, 23 Nov 2096 12:02:00 -0000", _SENT, _DAY_S),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    text: str, date: str, expected: float | None
) -> None:
    assert parse_retry_after(text, date, _NOW) == expected


@given(text=st.text(max_size=60), date=st.text(max_size=40))
def test_whatever_retry_after_says_it_is_a_wait_of_at_most_a_day(text: str, date: str) -> None:
    wait_s = parse_retry_after(text, date, _NOW)
    assert wait_s is None or 0 <= wait_s <= _DAY_S


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "hub.pem"
    with pytest.raises(ConfigError, match=r"hub\.pem: no certificate"):
        HttpTransport("https://hub.example/x", ca_file=path)
    path.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"hub\.pem: no certificate"):
        HttpTransport("https://hub.example/x", ca_file=path)


def test_a_cancelled_transport_sends_no_more() -> None:
    transport = HttpTransport("https://hub.example/x")
    transport.cancel()
    assert transport.send(str(uuid.UUID(int=1)), b"{}") == Delivery(Verdict.UNREACHABLE, "stopped")
