"""What is written of a tuning: whole, the same each time, readable without anything else."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.tune.page import remark, render_page, times, us
from edgepack.build.tune.plot import draw
from edgepack.build.tune.writing import load_tuning, write_tuning
from edgepack.formats.errors import ConfigError, MissingExtraError
from edgepack.formats.tuning import TunedCell
from tests.build.tune.tunings import CRASHED, tuning


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError) as caught:
        draw(tuning().machines[0], "a plot", "quality", "svg")
    assert caught.value.hint == "pip install 'edgepack[tune]'"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_tuning(tuning(), tmp_path / "file" / "out")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        load_tuning(tmp_path / "tune.json")
    assert "edgepack tune --out" in str(caught.value.hint)


def test_what_was_written_is_read_back_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = write_tuning(tuning(), tmp_path / "first")
    second = write_tuning(tuning(), tmp_path / "second")
    assert [path.name for path in first] == ["tune.json", "pareto.svg", "pareto.png", "tune.html"]
    assert load_tuning(first[0]) == tuning()
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_each_machine_has_its_own_plot(tmp_path: Path) -> None:
    files = {path.name for path in write_tuning(tuning("one", "two"), tmp_path)}
    assert {"pareto-one.svg", "pareto-two.png", "tune.json", "tune.html"} < files
    page = (tmp_path / "tune.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert page.count("<?xml") == 0


def test_the_page_says_what_was_chosen_why_and_what_is_out_and_escapes_it() -> None:
    page = render_page(tuning(), {}).decode()
    assert "tflite-dynamic-int8 on litert with 2 threads: the fastest of 2" in page
    assert "crashed with &lt;SIGSEGV&gt;" in page
    assert "overlap &amp; more" in page
    assert "Reservations: virtualised" in page
    assert "<script" not in page


def test_where_nothing_was_chosen_the_page_says_so_and_there_is_no_plot(tmp_path: Path) -> None:
    from dataclasses import replace

    from edgepack.build.tune.ranking import rank_machine
    from tests.build.tune.cells import PLAN, machine

    nothing = rank_machine(machine("here"), [CRASHED], {}, {CRASHED: "crashed"}, PLAN)
    files = write_tuning(replace(tuning(), machines=(nothing,)), tmp_path)
    assert [path.name for path in files] == ["tune.json", "tune.html"]
    assert "none of 1 could be measured" in files[1].read_text()


def test_what_cannot_be_told_is_a_dash() -> None:
    cell = TunedCell(CRASHED.row.runtime, "1", "onnx-fp32", CRASHED.options, "0" * 64, 1, 2)
    assert (us(None), us(1500), times(cell)) == ("-", "1.5 µs", "-")
    assert remark(cell, chosen=False) == "too few queries or rounds"
