"""What was named is found out by looking: an address, a store, or a file of reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from edgepack.formats.errors import ConfigError, HubError
from edgepack.formats.report import Grade
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.sources.opening import open_source
from tests.hub.sources.report_files import make_report, write_reports
from tests.hub.stores import NOW_MS, Filler

#: A day after the reports that `report_files` makes.
AFTER_MS = 1_772_442_902_000


def test_a_hubs_store_is_asked_as_it_is_and_not_changed(
    fill: Filler, store: Engine, tmp_path: Path
) -> None:
    fill.device("box")
    fill.connect().close()
    path = tmp_path / "hub.sqlite"
    with open_source(str(path), token=None, now_ms=NOW_MS) as source:
        assert source.name == str(path)
        assert source.fleet(FleetQuery()).tables[0].records()[0]["device"] == "box"
        with pytest.raises(HubError, match=r"no device 'bxo'; did you mean 'box'\?"):
            source.device("bxo", days=None)
        with pytest.raises(HubError, match="no one release that begins with 'f00'"):
            source.release("f00", before=None)
        with pytest.raises(HubError, match="no document of report 1 of 'box'"):
            source.document("box", "1")


def test_a_database_that_is_no_hubs_is_refused(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with (
        pytest.raises(HubError, match="is no hub's database"),
        open_source(str(path), token=None, now_ms=NOW_MS),
    ):
        pass


def test_a_missing_file_is_said_with_what_could_be_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="cannot be read: No such file") as caught,
        open_source(str(tmp_path / "nothing"), token=None, now_ms=NOW_MS),
    ):
        pass
    assert caught.value.hint is not None


def test_another_kind_of_database_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="SQLite and PostgreSQL are known"),
        open_source("mysql://host/db", token=None, now_ms=NOW_MS),
    ):
        pass


def test_a_file_of_reports_goes_the_way_of_the_hubs_own_intake(tmp_path: Path) -> None:
    reports = [
        *(make_report(i, variant="tflite-fp32", p50_ns=2_000_000) for i in range(9)),
        *(make_report(i, variant="tflite-dynamic-int8") for i in range(10, 19)),
        *(make_report(i, p50_ns=5, grade=Grade.C) for i in range(20, 30)),
    ]
    path = write_reports(tmp_path / "reports.jsonl", reports)
    with open_source(str(path), token=None, now_ms=AFTER_MS) as source:
        evidence = source.select(SelectQuery("arm64"))
        assert evidence.settled
        assert [(each.variant, each.p50_ns) for each in evidence.picks] == [
            ("tflite-dynamic-int8", 1_000_000),
            ("tflite-fp32", 2_000_000),
        ]
        assert evidence.kinds[0].box == "Raspberry Pi 4 Model B, Cortex-A72, 4 cores, 4 GiB"
        compared = source.compare(CompareQuery())
        assert [table.key for table in compared.tables] == ["trusted", "doubtful"]
        raw = source.document("box-0", "00000000-0000-4000-8000-000000000000")
        assert raw == reports[0].to_bytes()


def test_reports_may_be_spread_over_lines_as_the_runner_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "reports.json"
    values = [json.loads(make_report(i).to_bytes()) for i in (1, 2)]
    path.write_text("\n".join(json.dumps(each, indent=2) for each in values) + "\n")
    with open_source(str(path), token=None, now_ms=AFTER_MS) as source:
        assert len(source.fleet(FleetQuery()).tables[0]) == 2
    path.write_text(json.dumps(values[0], indent=2) + "\n{\n")
    with (
        pytest.raises(ConfigError, match="not JSON"),
        open_source(str(path), token=None, now_ms=AFTER_MS),
    ):
        pass
    values[1]["model"] = 5
    path.write_text("\n".join(json.dumps(each, indent=2) for each in values))
    second = json.dumps(values[0], indent=2).count("\n") + 2
    with (
        pytest.raises(ConfigError, match=f"line {second}: "),
        open_source(str(path), token=None, now_ms=AFTER_MS),
    ):
        pass


def test_a_box_without_an_id_counts_as_one_box_without_a_name(tmp_path: Path) -> None:
    reports = [make_report(i, device=None, p50_ns=1000 + i) for i in range(9)]
    path = write_reports(tmp_path / "reports.jsonl", reports)
    with open_source(str(path), token=None, now_ms=AFTER_MS) as source:
        assert source.fleet(FleetQuery()).tables[0].records()[0]["device"] == "unnamed"
        assert source.select(SelectQuery("arm64")).kinds[0].boxes == 1


def test_the_same_report_twice_counts_once(tmp_path: Path) -> None:
    path = write_reports(tmp_path / "reports.jsonl", [make_report(1), make_report(1)])
    with open_source(str(path), token=None, now_ms=AFTER_MS) as source:
        assert source.fleet(FleetQuery()).tables[0].records()[0]["reports"] == 1


def test_every_line_that_is_no_report_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    good = make_report(1).to_bytes()
    path.write_bytes(b'not json\n\n{"schema": "edgepack.report/9"}\n' + good + b"\n")
    with (
        pytest.raises(ConfigError) as caught,
        open_source(str(path), token=None, now_ms=AFTER_MS),
    ):
        pass
    assert "2 of 3 lines hold no report" in caught.value.message
    assert "\n  line 1: " in caught.value.message
    assert "\n  line 3: " in caught.value.message


def test_an_empty_file_holds_no_report(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text("\n\n")
    with (
        pytest.raises(ConfigError, match="there is no report in it"),
        open_source(str(path), token=None, now_ms=AFTER_MS),
    ):
        pass
