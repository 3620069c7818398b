from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.data.interactions import DataSource, Interactions, load_interactions
from edgepack.build.data.plain import Layout, open_plain_rows
from edgepack.build.data.sequences import make_sequences
from edgepack.formats.errors import ConfigError

PAIRS = "7 a\n7 b\n9 b\n7 c\n9 a\n9 d\n"
SEQUENCES = "7 a b c\n9 b a d\n"


def read(path: Path, text: str, layout: Layout, delimiter: str | None = None) -> Interactions:
    path.write_text(text)
    return load_interactions(DataSource(path, layout=layout, delimiter=delimiter))


@pytest.mark.parametrize(
    ("text", "layout", "problem"),
    [
        ("1 a\n\n2\n", Layout.PAIRS, r"line 3: has 1 field, expected a user and at least one"),
        ("1 a\n2 b c\n", Layout.PAIRS, r"line 2: has 3 fields, expected two.*sequences"),
        ("1 a b\n2\n", Layout.SEQUENCES, r"line 2: has 1 field, expected a user and at least"),
        ("1,a,b\n", Layout.SEQUENCES, r"line 1: has 1 field.*--delimiter"),
        ("", Layout.PAIRS, "the file is empty"),
        (" \n\n", Layout.SEQUENCES, "the file is empty"),
        ("1 a\n2 a\n", Layout.PAIRS, r"one item only \('a'\)"),
        ("1 nan\n2 a\n", Layout.PAIRS, r"1 of 2 rows have no id.*leave its lines out"),
    ],
)
def test_a_line_of_another_layout_is_named_with_what_to_do(
    tmp_path: Path, text: str, layout: Layout, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "log.txt", text, layout)
    assert re.search(problem, caught.value.message), caught.value.message


def test_pairs_and_sequences_of_the_same_events_are_the_same_sequences(tmp_path: Path) -> None:
    one = make_sequences(read(tmp_path / "pairs.txt", PAIRS, Layout.PAIRS))
    other = make_sequences(read(tmp_path / "lines.txt", SEQUENCES, Layout.SEQUENCES))
    assert one.vocabulary == other.vocabulary
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.offsets, other.offsets)
    names = [one.vocabulary.items[i - 1] for i in one.items]
    assert names == ["a", "b", "c", "b", "a", "d"]


def test_a_user_whose_lines_are_apart_is_one_sequence_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    found = read(tmp_path / "log.txt", "1 c b\n2 a b c\n1 a\n", Layout.SEQUENCES)
    first = found.items[found.sessions == 0]
    assert [found.item_ids[i] for i in first] == ["c", "b", "a"]


@pytest.mark.parametrize("delimiter", [",", "\t", ":"])
def test_another_delimiter_lets_ids_hold_blanks(tmp_path: Path, delimiter: str) -> None:
    text = delimiter.join(["u 1", "red shoe", "hat"]) + "\r\n"
    found = read(tmp_path / "log.txt", text, Layout.SEQUENCES, delimiter)
    assert found.item_ids == ("red shoe", "hat")


def test_a_packed_log_is_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "log.txt.gz"
    packed.write_bytes(gzip.compress(PAIRS.encode()))
    archive = tmp_path / "log.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ml-1m.txt", PAIRS)
    for path in (packed, archive):
        with open_plain_rows(path, Layout.PAIRS) as rows:
            assert len(list(rows)) == 6


def test_a_damaged_packing_is_an_error_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "log.txt.gz"
    path.write_bytes(gzip.compress(PAIRS.encode() * 99)[:-20])
    with pytest.raises(ConfigError, match="the archive is damaged"):
        load_interactions(DataSource(path, layout=Layout.PAIRS))


def test_the_layout_is_part_of_what_decides_a_model(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("1 a\n")
    keys = [DataSource(path, layout=layout).to_key() for layout in Layout]
    assert len({str(key) for key in keys}) == len(Layout)
    assert "layout" not in keys[0]
