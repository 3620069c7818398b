"""One table for pages, CSV, JSON and the terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.hub.answers.table import (
    Cell,
    Column,
    Table,
    Unit,
    format_cell,
    format_moment,
    format_ns,
    format_size,
    make_table,
    table_from_json,
)

COLUMNS = (Column("name", "Name"), Column("p50_ns", "p50", Unit.NS), Column("ok", "OK", Unit.FLAG))


def test_csv_has_the_keys_as_its_header_plain_numbers_and_empty_cells_for_the_unknown() -> None:
    table = Table("t", "T", COLUMNS, (("a, b", 1_500_000, True), ("c", None, False)))
    assert table.to_csv() == 'name,p50_ns,ok\r\n"a, b",1500000,true\r\nc,,false\r\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    table = Table("t", "T", COLUMNS[:1], ((text,),))
    rows = list(csv.reader(io.StringIO(table.to_csv(), newline="")))
    assert rows[1] == [f"'{text}"]


def test_a_negative_number_is_no_formula() -> None:
    table = Table("t", "T", (Column("t", "T", Unit.TEMPERATURE_MC),), ((-4000,),))
    assert table.to_csv().splitlines()[1] == "-4000"
    assert table.shown() == [["-4.0 °C"]]


@given(st.lists(st.tuples(st.text(), st.none() | st.integers(0, 2**63), st.booleans())))
def test_any_text_survives_csv_and_json(rows: list[tuple[Cell, ...]]) -> None:
    table = Table("t", "T", COLUMNS, tuple(rows))
    read = list(csv.reader(io.StringIO(table.to_csv(), newline="")))
    assert len(read) == len(rows) + 1
    for row, line in zip(rows, read[1:], strict=True):
        # Python's reader takes a carriage return inside quotes as it is.
        assert line[0].removeprefix("'") == str(row[0]).removeprefix("'")
    assert table_from_json(json.loads(json.dumps(table.to_json()))) == table


def test_json_says_the_units_and_names_the_cells() -> None:
    table = make_table("t", "T", COLUMNS, [{"name": "a", "p50_ns": 5}], note="n")
    assert table.to_json() == {
        "table": "t",
        "title": "T",
        "columns": [
            {"key": "name", "title": "Name", "unit": "text", "help": "", "detail": False},
            {"key": "p50_ns", "title": "p50", "unit": "ns", "help": "", "detail": False},
            {"key": "ok", "title": "OK", "unit": "flag", "help": "", "detail": False},
        ],
        "rows": [{"name": "a", "p50_ns": 5, "ok": None}],
        "note": "n",
    }


def test_a_row_that_does_not_fit_its_columns_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="1 cells under 3 columns"):
        Table("t", "T", COLUMNS, (("a",),))


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 ns"),
        (850, "850 ns"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (3_210_000, "3.21 ms"),
        (9_996_000, "10.0 ms"),
        (99_960_000, "100 ms"),
        (1_400_000_000, "1.40 s"),
        (90_000_000_000, "90.0 s"),
    ],
)
def test_durations_have_three_digits(duration_ns: int, text: str) -> None:
    assert format_ns(duration_ns) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(12, "12 B"), (999_600, "1.00 MB"), (153_000, "153 kB"), (11_100_000, "11.1 MB")],
)
def test_sizes_have_three_digits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_moments_are_utc_and_one_that_no_calendar_has_is_a_dash() -> None:
    assert format_moment(1_772_368_200_000) == "2026-03-01 12:30"
    assert format_moment(2**62) == "-"


@pytest.mark.parametrize(
    ("cell", "unit", "text"),
    [
        (None, Unit.NS, "-"),
        (True, Unit.FLAG, "yes"),
        (False, Unit.FLAG, "no"),
        (12345, Unit.COUNT, "12,345"),
        (0.9876, Unit.SHARE, "0.988"),
        (1.05, Unit.RATIO, "+5.0 %"),
        (0.877, Unit.RATIO, "-12.3 %"),
        (61_500, Unit.TEMPERATURE_MC, "61.5 °C"),
        (20_000, Unit.DAY, "2024-10-04"),
        (12.34, Unit.PER_SECOND, "12.3/s"),
        ("text", Unit.NS, "text"),
    ],
)
def test_each_unit_is_written_for_people(cell: Cell, unit: Unit, text: str) -> None:
    assert format_cell(cell, unit) == text


def test_details_are_left_out_where_there_is_little_room() -> None:
    columns = (Column("a", "A"), Column("b", "B", detail=True), Column("c", "C"))
    table = Table("t", "T", columns, (("1", "2", "3"),), "n")
    assert table.brief() == Table("t", "T", (columns[0], columns[2]), (("1", "3"),), "n")


def test_every_unit_can_be_written() -> None:
    assert all(format_cell(1, unit) for unit in Unit)
