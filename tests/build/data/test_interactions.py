from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.data.conditions import parse_condition
from edgepack.build.data.interactions import DataSource, Interactions, load_interactions
from edgepack.formats.errors import ConfigError


def load(
    tmp_path: Path, rows: str, *, where: tuple[str, ...] = (), time_format: str | None = None
) -> Interactions:
    path = tmp_path / "log.csv"
    path.write_text("session,item,order,quantity\n" + rows)
    conditions = tuple(parse_condition(text) for text in where)
    return load_interactions(
        DataSource(path, "session", "item", "order", time_format=time_format, conditions=conditions)
    )


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has a header but no rows"):
        load(tmp_path, "")


def test_one_item_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"column 'item': one item only \('x'\), expected") as e:
        load(tmp_path, "a,x,1,1\na,x,2,1\n")
    assert e.value.exit_code == 3


@pytest.mark.parametrize("nothing", ["", "  ", "nan", "NaN", "NULL"])
def test_ids_without_a_value_are_counted_and_the_first_row_is_named(
    tmp_path: Path, nothing: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"a,x,1,1\na,{nothing},2,1\na,{nothing},3,1\n")
    message = caught.value.message
    assert "2 of 3 rows have no id (NaN or empty), the first is data row 2" in message
    assert "--where \"item != ''\"" in message


def test_problems_of_several_columns_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "a,x,1,1\n,y,2,1\na,,3,1\na,z,soon,1\n")
    assert "3 problems" in caught.value.message
    assert "got 'soon', expected a number" in caught.value.message


def test_an_order_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="column 'order': 1 of 2 rows cannot be ordered"):
        load(tmp_path, "a,x,1,1\na,y,2011-01-01,1\n")


@pytest.mark.parametrize("value", ["nan", "inf", ""])
def test_an_order_without_a_place_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="cannot be ordered, the first is data row 2"):
        load(tmp_path, f"a,x,1,1\na,y,{value},1\n")


def test_events_are_sorted_by_session_then_order_then_row(tmp_path: Path) -> None:
    found = load(tmp_path, "b,x,2,1\na,y,9,1\nb,z,1,1\na,x,9,1\nb,w,2,1\n")
    names = [found.item_ids[item] for item in found.items]
    assert names == ["z", "x", "w", "y", "x"]
    assert found.sessions.tolist() == [0, 0, 0, 1, 1]


def test_numbers_are_ordered_as_numbers_not_as_text(tmp_path: Path) -> None:
    found = load(tmp_path, "a,late,10,1\na,early,9,1\n")
    assert found.item_ids[found.items[0]] == "early"


def test_times_are_ordered_as_times(tmp_path: Path) -> None:
    rows = "a,third,2011-01-02T00:00:00+00:00,1\na,first,2010-12-31 23:59:59,1\n"
    rows += "a,second,2011-01-02T00:00:00+01:00,1\n"
    found = load(tmp_path, rows)
    assert [found.item_ids[item] for item in found.items] == ["first", "second", "third"]


def test_a_time_format_reads_other_times(tmp_path: Path) -> None:
    rows = "a,late,01.02.2011,1\na,early,31.01.2011,1\n"
    found = load(tmp_path, rows, time_format="%d.%m.%Y")
    assert found.item_ids[found.items[0]] == "early"
    with pytest.raises(ConfigError, match=r"expected a time like '%Y/%m'"):
        load(tmp_path, rows, time_format="%Y/%m")


def test_conditions_drop_rows_and_count_them_by_reason(tmp_path: Path) -> None:
    rows = "a,x,1,3\na,y,2,-1\n,z,3,1\na,w,4,0\na,v,5,1\n"
    found = load(tmp_path, rows, where=("session != ''", "quantity > 0"))
    assert found.rows_read == 5
    assert found.dropped == {"session != ''": 1, "quantity > 0": 2}
    assert found.item_ids == ("x", "v")


def test_conditions_that_drop_everything_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"drop all 2 rows \(2 by quantity > 5\)"):
        load(tmp_path, "a,x,1,1\na,y,2,1\n", where=("quantity > 5",))


def test_a_condition_on_a_column_that_is_not_there_is_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="column 'quantty': there is none; did you mean 'quantity'"
    ):
        load(tmp_path, "a,x,1,1\n", where=("quantty > 0",))


def test_the_key_of_a_source_is_its_content_not_its_path(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    first.write_text("s,i,o\n")
    second.write_text("s,i,o\n")
    other.write_text("s,i,o,\n")
    keys = [DataSource(path, "s", "i", "o").to_key() for path in (first, second, other)]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
    assert keys[0] != DataSource(first, "s", "i", "i").to_key()
