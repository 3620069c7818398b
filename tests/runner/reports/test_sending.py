from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from edgepack.formats.errors import ConfigError
from edgepack.runner.reports.address import check_url
from edgepack.runner.reports.delivery import Verdict
from edgepack.runner.reports.sending import send_waiting
from edgepack.runner.reports.spool import Spool
from edgepack.runner.reports.tokens import read_token
from tests.runner.simulators import SimulatedHub


def _filled(directory: Path, count: int) -> Spool:
    spool = Spool(directory)
    for number in range(count):
        spool.add(str(uuid.UUID(int=number)), b"{}")
    return spool


def test_nothing_is_lost_while_the_hub_is_away(tmp_path: Path) -> None:
    spool, hub = _filled(tmp_path, 3), SimulatedHub()
    hub.verdicts = [Verdict.ACCEPTED, Verdict.UNREACHABLE]
    outcome = send_waiting(spool, hub)
    assert (outcome.accepted, outcome.refused, outcome.waiting) == (1, 0, 2)
    assert outcome.trouble == "simulated: unreachable"
    assert send_waiting(spool, hub).accepted == 2
    assert len(hub.reports) == 3


def test_a_report_that_is_judged_bad_does_not_block_the_others(tmp_path: Path) -> None:
    spool, hub = _filled(tmp_path, 3), SimulatedHub()
    hub.verdicts = [Verdict.REFUSED]
    outcome = send_waiting(spool, hub)
    assert (outcome.accepted, outcome.refused, outcome.waiting) == (2, 1, 0)
    assert outcome.trouble is not None


def test_one_call_sends_no_more_than_a_batch(tmp_path: Path) -> None:
    spool, hub = _filled(tmp_path, 5), SimulatedHub()
    assert send_waiting(spool, hub, limit=2).waiting == 3


def test_the_oldest_report_goes_first(tmp_path: Path) -> None:
    spool, hub = _filled(tmp_path, 3), SimulatedHub()
    send_waiting(spool, hub)
    assert list(hub.reports) == [str(uuid.UUID(int=number)) for number in range(3)]


@pytest.mark.parametrize("url", ["ftp://hub/x", "hub", "file:///etc/passwd", "http://"])
def test_a_url_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not an http or https URL"):
        check_url(url, with_token=False)


def test_a_token_does_not_cross_the_network_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="in the clear"):
        check_url("http://hub.example/reports", with_token=True)
    assert check_url("https://hub.example/reports", with_token=True)
    assert check_url("http://127.0.0.1:9/reports", with_token=True)
    assert check_url("http://[::1]:9/reports", with_token=True)
    assert check_url("http://localhost/reports", with_token=True)


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "x" * 9000, "\x00"])
def test_a_token_no_header_may_hold_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(ConfigError, match="token"):
        read_token(path)


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc.def\n")
    assert read_token(path) == "abc.def"
    assert read_token(None) is None


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_token(tmp_path / "nowhere")
