from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from edgepack.formats.report import MAX_REPORT_BYTES, Report, check_report
from edgepack.formats.typed import from_plain
from edgepack.hub.intake.submission import (
    MAX_BATCH,
    Refused,
    Sender,
    UnreadableError,
    build_report,
    decode_body,
    read_report,
    split_lines,
)
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.recording import Accepted
from tests.hub.reports import DEVICE, NOW_MS, report_bytes

_SENDER = Sender(7, DEVICE)


def _accepted(data: bytes) -> Accepted:
    found = read_report(data, _SENDER, NOW_MS)
    assert isinstance(found, Accepted), found
    return found


def _refused(data: bytes) -> Refused:
    found = read_report(data, _SENDER, NOW_MS)
    assert isinstance(found, Refused)
    return found


def test_a_report_is_kept_as_the_very_bytes_that_were_sent() -> None:
    data = report_bytes(future_field={"b": 1, "a": [1.50]})
    found = _accepted(data)
    assert unpack(found.codec, found.body) == data
    assert found.device_id == 7


def test_a_device_sends_its_own_reports_only() -> None:
    found = _refused(report_bytes(device="22222222-2222-4222-8222-222222222222"))
    assert found.status == 403
    assert "own reports only" in found.message


def test_a_box_that_could_keep_no_id_is_known_by_its_token() -> None:
    assert _accepted(report_bytes(device=None)).device_id == 7


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"nothing", b"\xff\xfe", b'{"a":1,"a":2}'])
def test_what_is_no_json_object_cannot_be_read(data: bytes) -> None:
    assert _refused(data).status == 400


def test_every_problem_of_a_report_is_told_with_its_place() -> None:
    found = _refused(report_bytes(created="yesterday", trust={"grade": "Z", "reasons": []}))
    assert found.status == 422
    assert any(problem.where == "trust.grade" for problem in found.problems)


def test_a_report_too_long_is_not_looked_at() -> None:
    assert _refused(b"{" + b" " * MAX_REPORT_BYTES).status == 413


def test_a_number_that_no_database_keeps_is_refused() -> None:
    document = json.loads(report_bytes())
    document["cold"]["init_ns"] = 2**63
    found = _refused(json.dumps(document).encode())
    assert found.status == 422
    assert found.problems[0].where == "report.init_ns"


@pytest.mark.parametrize("text", ["nul \0 byte", "half a pair \ud800"])
def test_text_that_no_database_keeps_is_replaced_in_the_tables_alone(text: str) -> None:
    document = json.loads(report_bytes())
    document["device"]["board"] = text
    data = json.dumps(document).encode()
    found = _accepted(data)
    assert unpack(found.codec, found.body) == data
    box = found.extracted.device["box"]
    assert "\0" not in box
    box.encode()


@pytest.mark.parametrize("created", ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_clock_that_cannot_be_right_is_replaced_by_the_hubs(created: str) -> None:
    found = _accepted(report_bytes(created=created)).extracted.report
    assert found["clock_off"] is True
    assert found["created_ms"] == NOW_MS


def test_a_report_that_waited_for_weeks_keeps_its_own_time() -> None:
    found = _accepted(report_bytes(created="2026-08-21T14:13:20Z")).extracted.report
    assert found["clock_off"] is False
    assert found["created_ms"] == NOW_MS - 31 * 86_400_000


def test_a_day_that_does_not_exist_is_a_wrong_clock() -> None:
    assert _accepted(report_bytes(created="2026-02-31T99:00:00Z")).extracted.report["clock_off"]


def test_gzip_is_unpacked() -> None:
    assert decode_body(gzip.compress(b"abc"), "gzip") == b"abc"
    assert decode_body(b"abc", "") == b"abc"


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (b"abc", "br", 415),
        (b"abc", "gzip", 400),
        (gzip.compress(b"abc")[:-4], "gzip", 400),
        (gzip.compress(b"abc") + b"more", "gzip", 400),
        (zlib.compress(b"abc"), "gzip", 400),
        (gzip.compress(b"a" * 2000), "gzip", 413),
    ],
)
def test_a_body_that_cannot_be_unpacked_says_why(body: bytes, coding: str, status: int) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode_body(body, coding, limit=1000)
    assert caught.value.status == status


def test_lines_are_counted() -> None:
    assert split_lines(b"{}\n\n{}\n") == [b"{}", b"{}"]
    for body, status in ((b"\n \n", 400), (b"{}\n" * (MAX_BATCH + 1), 413)):
        with pytest.raises(UnreadableError) as caught:
            split_lines(body)
        assert caught.value.status == status


def test_offline_runs_of_any_length_share_a_context() -> None:
    def context(samples: int) -> Any:
        document = json.loads(report_bytes())
        document["runs"][0]["method"] |= {"scenario": "offline", "samples_per_query": samples}
        return _accepted(json.dumps(document).encode()).extracted.runs[0].context["digest"]

    assert context(100) == context(200)


def test_a_report_is_judged_as_it_is_checked() -> None:
    document = json.loads(report_bytes())
    assert build_report(document) == from_plain(Report, document)
    for path, value in (
        (("schema",), "edgepack.report/2"),
        (("created",), "yesterday"),
        (("cold", "init_ns"), -1),
        (("cold", "warm_load_ns"), None),
        (("bundle", "id"), "x" * 64),
    ):
        document = json.loads(report_bytes())
        place: Any = document
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        assert build_report(document) == check_report(document) != []
