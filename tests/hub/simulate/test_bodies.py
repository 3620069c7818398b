from __future__ import annotations

import hashlib
import json
import zlib

from edgepack.formats.report import Report, check_report
from edgepack.hub.simulate.bodies import Mould
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, make_fleet, report_of
from edgepack.hub.store.documents import Codec, unpack

_PLAN = Plan(seed=5, devices=14, days=1, end_ms=1_790_000_000_000)
_ID = "00000000-0000-4000-8000-000000000001"
_BOX = "11111111-0000-4000-8000-000000000002"
_CREATED = "2026-01-02T03:04:05.006Z"


def _reports() -> list[Report]:
    return [
        report_of(_PLAN, each) for box in make_fleet(_PLAN) for each in benchmarks_of(_PLAN, box)
    ]


def test_a_cast_differs_from_its_mould_in_three_values_alone() -> None:
    for report in _reports():
        cast = Mould(report).cast(_CREATED, _BOX, _ID)
        data = unpack(Codec.ZLIB, cast.packed)
        assert hashlib.sha256(data).hexdigest() == cast.sha256
        document = json.loads(data)
        assert check_report(document) == []
        wanted = json.loads(report.to_bytes())
        assert document == wanted | {"created": _CREATED, "device_id": _BOX, "report_id": _ID}


def test_a_cast_with_the_moulds_own_values_is_the_mould() -> None:
    report = _reports()[0]
    cast = Mould(report).cast(report.created, str(report.device_id), report.report_id)
    assert zlib.decompress(cast.packed) == report.to_bytes()


def test_a_cast_is_packed_nearly_as_well_as_a_whole_report() -> None:
    for report in _reports():
        whole = len(zlib.compress(report.to_bytes(), 6))
        cast = Mould(report).cast(_CREATED, _BOX, _ID)
        assert len(cast.packed) < 1.2 * whole
