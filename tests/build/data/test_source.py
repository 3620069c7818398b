from __future__ import annotations

import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.build.data.interactions import DataSource, load_interactions
from edgepack.build.data.source import open_rows, sniff_delimiter
from edgepack.formats.errors import ConfigError, MissingExtraError

LOG = "session,item,time\na,x,1\na,y,2\n"
COLUMNS = ("session", "item", "time")


def read(path: Path, **options: str | None) -> list[list[str]]:
    with open_rows(path, COLUMNS, **options) as rows:
        return list(rows)


def test_a_missing_file_is_named_with_the_closest_one(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text(LOG)
    with pytest.raises(ConfigError, match=r"no such file; did you mean 'clicks\.csv'") as caught:
        read(tmp_path / "click.csv")
    assert caught.value.exit_code == 3


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, expected one file"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["", "\n", "  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match="the file is empty"):
        read(path)


def test_every_missing_column_is_named_with_a_suggestion_and_those_there_are(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("session_id,itm,time\na,x,1\n")
    with pytest.raises(ConfigError) as caught, open_rows(path, ("session", "itme", "time")) as rows:
        list(rows)
    message = caught.value.message
    assert "column 'session': there is none; did you mean 'session_id'?" in message
    assert "column 'itme'" in message
    assert "columns in this file: session_id, itm, time" in message


def test_a_row_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LOG + "a,z\n")
    with pytest.raises(ConfigError, match="data row 3: has 2 fields, expected 3"):
        read(path)


def test_text_that_is_not_utf_8_is_refused_with_the_command_that_converts_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("session,item,time\na,café,1\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        read(path)
    assert "iconv" in str(caught.value)


def write_zip(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("log.csv", text)
        archive.writestr("README", "about")


PACKINGS: dict[str, Callable[[Path, str], object]] = {
    "log.csv": lambda path, text: path.write_text(text),
    "log.csv.gz": lambda path, text: path.write_bytes(gzip.compress(text.encode())),
    "log.csv.xz": lambda path, text: path.write_bytes(lzma.compress(text.encode())),
    "log.zip": write_zip,
}


@pytest.mark.parametrize("name", PACKINGS)
def test_every_packing_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    PACKINGS[name](tmp_path / name, LOG)
    assert read(tmp_path / name) == [["a", "x", "1"], ["a", "y", "2"]]


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv.xz", "log.zip"])
def test_an_archive_cut_short_is_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PACKINGS[name](path, LOG * 500)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="the archive is damaged"):
        read(path)


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv.xz", "log.zip"])
def test_a_file_that_is_no_archive_is_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LOG)
    with pytest.raises(ConfigError, match="the archive is damaged"):
        read(tmp_path / name)


def test_a_zip_of_several_tables_needs_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("may.csv", LOG)
        archive.writestr("june.csv", LOG.replace("x", "z"))
    with pytest.raises(ConfigError, match=r"holds 2 tables: may\.csv, june\.csv") as caught:
        read(path)
    assert "--member 'may.csv'" in str(caught.value)
    assert read(path, member="june.csv")[0] == ["a", "z", "1"]
    with pytest.raises(ConfigError, match=r"no member 'jun\.csv'; did you mean 'june\.csv'"):
        read(path, member="jun.csv")


def test_a_zip_without_a_table_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("picture.png", b"")
    with pytest.raises(ConfigError, match=r"holds no \.csv or \.tsv"):
        read(tmp_path / "logs.zip")


def test_a_member_is_only_for_a_zip(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    with pytest.raises(ConfigError, match=r"this is no \.zip file"):
        read(tmp_path / "log.csv", member="log.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(LOG.replace(",", delimiter))
    assert read(path) == [["a", "x", "1"], ["a", "y", "2"]]


def test_the_wanted_columns_decide_between_delimiters() -> None:
    assert sniff_delimiter('item,"a;b;c",time\n', ["item", "time"]) == ","


def test_windows_line_ends_a_byte_order_mark_and_quoted_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b'\xef\xbb\xbfsession,item,time\r\na,"x, large\r\none",1\r\n\r\n')
    assert read(path) == [["a", "x, large\r\none", "1"]]


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,unused,item,session\n1,-,x,a\n")
    assert read(path) == [["a", "x", "1"]]


def test_parquet_gives_the_same_events_as_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"time": [1.0, 2.0], "session": [7, 7], "item": ["x", "y"]})
    parquet.write_table(table, tmp_path / "log.parquet")
    found = load_interactions(DataSource(tmp_path / "log.parquet", *COLUMNS))
    assert found.item_ids == ("x", "y")
    assert found.sessions.tolist() == [0, 0]


def test_missing_values_of_parquet_are_ids_without_a_value(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"time": [1, 2], "session": ["a", "a"], "item": ["x", None]})
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(ConfigError, match="1 of 2 rows have no id"):
        load_interactions(DataSource(tmp_path / "log.parquet", *COLUMNS))


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "log.parquet").write_text(LOG)
    with pytest.raises(ConfigError, match="not a Parquet file"):
        read(tmp_path / "log.parquet")


def test_parquet_without_pyarrow_names_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as caught:
        read(tmp_path / "log.parquet")
    assert caught.value.exit_code == 4
    assert caught.value.hint == "pip install 'edgepack[parquet]'"
