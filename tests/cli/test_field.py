"""Asking from the command line, and a terminal that hostile texts cannot reach."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from edgepack.cli.field import fetch_evidence, printable, read_token
from edgepack.cli.main import main
from edgepack.cli.select import never_reported
from edgepack.formats.errors import ConfigError
from edgepack.formats.evidence import parse_evidence
from tests.evidence import EVIDENCE
from tests.hub.conftest import fill, store
from tests.hub.stores import Filler

__all__ = ["fill", "store"]

HOSTILE = "\x1b[2J[red]<script>alert(1)</script>\u202e\n"


@pytest.fixture
def path(fill: Filler, store: Engine, tmp_path: Path) -> str:
    """A small store: a winner, a loser, and a device with a hostile label."""
    old, new = fill.release("1.0.0"), fill.release("1.1.0")
    fp32, int8 = fill.setup(old, "tflite-fp32"), fill.setup(new, "tflite-dynamic-int8")
    context = fill.context()
    box = fill.device("kiosk-1", label=HOSTILE, release_id=new, setup_id=int8)
    fill.run(fill.report(box, int8, body=b'{"raw": 1}'), context)
    for i in range(10):
        each = fill.device()
        fill.standing(each, fp32, context, 2_000_000 + i)
        fill.standing(each, int8, context, 1_000_000 + i)
    fill.connect().close()
    return str(tmp_path / "hub.sqlite")


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(str(caught.value.code))


def test_select_ranks_and_says_why(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("select", "--target", "arm64", "--from", path) == 0
    printed = capsys.readouterr().out
    assert "tflite-dynamic-int8 on litert is the fastest: 1.00 ms" in printed
    assert "2.00 times the first's latency" in " ".join(printed.split())


def test_select_names_what_the_target_allows_and_nobody_has_measured(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("select", "--target", "arm64", "--from", path) == 0
    line = next(
        each for each in capsys.readouterr().out.splitlines() if each.startswith("allowed for")
    )
    assert "onnx-fp32 on onnxruntime" in line
    assert "tflite-fp16 on litert" in line
    assert "tflite-dynamic-int8 on litert" not in line.replace("tflite-dynamic-int8-per", "")


def test_a_target_that_is_not_known_here_has_nothing_that_is_missing() -> None:
    assert never_reported(replace(EVIDENCE, target="somebody-elses")) == []


def test_select_as_json_is_the_evidence(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--max-p99-ms", "3", "--max-size-mb", "5", "--min-quality", "0.5")
    assert _run("select", "--target", "arm64", "--from", path, *options, "--json") == 0
    evidence = parse_evidence(capsys.readouterr().out.encode())
    assert [each.variant for each in evidence.picks] == ["tflite-dynamic-int8"]
    assert evidence.limits.max_p99_ns == 3_000_000


def test_a_wrong_limit_is_refused_with_its_name(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("select", "--target", "arm64", "--from", path, "--max-p99-ms", "fast") == 3
    assert "max_p99_ms: got 'fast'" in capsys.readouterr().err


def test_without_a_source_it_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPACK_HUB", raising=False)
    assert _run("report", "fleet") == 3
    assert "EDGEPACK_HUB" in capsys.readouterr().err


def test_the_environment_names_the_source(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPACK_HUB", path)
    assert _run("report", "releases") == 0
    assert "1.1.0" in capsys.readouterr().out


def test_a_hostile_label_reaches_neither_terminal_nor_spreadsheet(
    path: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert _run("report", "device", "kiosk-1", "--from", path) == 0
    printed = capsysbinary.readouterr().out.decode()
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "[red]<script>alert(1)</script>" in printed
    assert _run("report", "fleet", "--from", path, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode(), newline="")))
    assert next(row for row in rows if row["device"] == "kiosk-1")["label"] == HOSTILE


def test_every_report_prints_as_a_table_as_csv_and_as_json(
    path: str, fill: Filler, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with fill.connect() as connection:
        from edgepack.hub import asking

        newest = asking.releases(connection).releases[0].bundle_id
    for command in (
        ("fleet", "--limit", "3", "--text", "box"),
        ("device", "kiosk-1", "--days", "30"),
        ("compare", "--scenario", "single_stream", "--fact", "box=Raspberry Pi 4"),
        ("releases", "--target", "arm64"),
        ("release", newest[:10]),
    ):
        assert _run("report", *command, "--from", path) == 0
        assert capsysbinary.readouterr().out
        assert _run("report", *command, "--from", path, "--csv") == 0
        header = capsysbinary.readouterr().out.split(b"\r\n")[0]
        assert _run("report", *command, "--from", path, "--json") == 0
        value = json.loads(capsysbinary.readouterr().out)
        assert value["schema"] == "edgepack.answer/1"
        assert header.decode().split(",") == [c["key"] for c in value["tables"][0]["columns"]]


def test_a_document_is_printed_as_it_was_sent(
    path: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    report_id = "00000000-0000-4000-8000-000000000001"
    assert _run("report", "device", "kiosk-1", "--raw", report_id, "--from", path) == 0
    assert capsysbinary.readouterr().out == b'{"raw": 1}\n'


def test_an_unknown_device_is_the_hubs_exit_code(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("report", "device", "kiosk-2", "--from", path) == 9
    assert "did you mean 'kiosk-1'?" in capsys.readouterr().err


def test_a_token_comes_from_its_file_or_else_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPACK_HUB_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    assert read_token(file) == "from-the-file"
    monkeypatch.delenv("EDGEPACK_HUB_TOKEN")
    assert read_token(None) is None


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff", b"x" * 5000, b"a\nb"])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="token"):
        read_token(file)


def test_a_build_gets_the_evidence_of_each_target(path: str) -> None:
    evidence = fetch_evidence(path, None, targets=["arm64", "cpu"], model="session")
    assert evidence["arm64"].picks[0].variant == "tflite-dynamic-int8"
    assert evidence["cpu"].picks == ()
    assert fetch_evidence(None, None, targets=["arm64"], model="session") == {}


def test_a_build_goes_on_with_a_warning_where_a_store_cannot_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sqlite3

    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert fetch_evidence(str(other), None, targets=["arm64"], model="session") == {}
    warned = capsys.readouterr().err
    assert warned.startswith("warning: ")
    assert "the build goes on without field reports" in warned


def test_a_build_with_a_file_that_is_not_there_ends_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache")
    missing = str(tmp_path / "nothing.sqlite")
    assert _run("build", "--target", "arm64", "--hub", missing, "--cache", cache) == 3
    assert "cannot be read" in capsys.readouterr().err


def test_what_a_terminal_takes_for_a_command_is_a_question_mark() -> None:
    assert printable("a\x1b[31m\u202eb\u00e9") == "a?[31m?b\u00e9"


def test_every_report_is_written_as_a_page_by_itself(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    for command, title in (
        (("fleet",), "Fleet"),
        (("device", "kiosk-1"), "kiosk-1"),
        (("compare", "--scenario", "single_stream"), "Compare"),
        (("releases",), "Releases"),
    ):
        assert _run("report", *command, "--from", path, "--html", str(page)) == 0
        text = page.read_text(encoding="utf-8")
        assert f"<h1>{title}</h1>" in text
        assert "<script>alert" not in text
    assert [each.name for each in tmp_path.iterdir() if "page" in each.name] == ["page.html"]
    assert capsys.readouterr().out == ""


def test_a_page_that_cannot_be_written_is_refused_and_leaves_nothing(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    (folder := tmp_path / "folder").mkdir()
    for file in (tmp_path / "missing" / "page.html", folder / ("n" * 300)):
        assert _run("report", "fleet", "--from", path, "--html", str(file)) == 3
        assert "cannot be written" in capsys.readouterr().err
    assert not list(folder.iterdir())
    assert {*before, folder} >= set(tmp_path.iterdir()) - set(tmp_path.glob("hub.sqlite-*"))
