"""The choice's page: its form, its words, its tables and what to type."""

from __future__ import annotations

import csv
import io
import shlex

from sqlalchemy import Engine

from edgepack.hub.answers.sheet import parse_sheet
from tests.hub.stores import Filler
from tests.hub.web.filling import fill_hub
from tests.hub.web.reading import Page, Reader


def _value(page: Page, name: str) -> str:
    return next(each["value"] for each in page.all("input") if each.get("name") == name)


def test_without_a_target_it_asks_for_one_and_keeps_the_limits(fill: Filler, store: Engine) -> None:
    fill_hub(fill, text="")
    page = Reader(store).page("/select?max_p99_ms=2.5&model=session")
    assert page.headings == ["Choose"]
    assert "Name a target" in page.text
    assert not page.all("table")
    assert _value(page, "max_p99_ms") == "2.5"
    assert {"value": "arm64"} in page.all("option")
    assert {each["name"] for each in page.all("select")} == {"target", "model", "scenario"}


def test_every_variant_has_its_place_and_the_words_why(fill: Filler, store: Engine) -> None:
    fill_hub(fill, text="")
    page = Reader(store).page("/select?target=arm64")
    assert page.headings == ["session for arm64"]
    assert "the lowest median latency: 1.35 ms (" in page.text
    assert "times the first's latency" in page.text
    assert "settled" in page.text
    assert {"value": "arm64", "selected": ""} in page.all("option")
    leads = [each for each in page.links() if each.startswith("/compare?context=")]
    assert leads
    assert all("target=arm64&runtime=litert" in each for each in leads)


def test_a_limit_that_nothing_keeps_is_said_of_each_variant(fill: Filler, store: Engine) -> None:
    fill_hub(fill, text="")
    page = Reader(store).page("/select?target=arm64&max_size_mb=0.000001&details=1")
    assert page.text.count("at most 1 B is allowed") == 2
    assert page.text.count("over limit") == 2
    assert "not settled" in page.text


def test_its_tables_are_the_ones_that_csv_and_json_give(fill: Filler, store: Engine) -> None:
    fill_hub(fill, text="")
    # Too few boxes with another variant, and a second kind of box.
    other = fill.setup(1, "onnx-fp32")
    second = fill.context("Pi 5")
    for _ in range(3):
        box = fill.device()
        fill.standing(box, other, 1, 5_000_000)
        fill.standing(box, other, second, 5_000_000)
    fill.connect().close()
    reader = Reader(store)
    page = reader.page("/select?target=arm64&max_p99_ms=900")
    exports = [each for each in page.links() if each.startswith("/api/select")]
    assert len(exports) == 2 * len(page.all("table")) == 8
    for each in exports:
        assert "max_p99_ms=900" in each
        response = reader.get(each)
        if each.startswith("/api/select.csv"):
            assert list(csv.DictReader(io.StringIO(response.text, newline="")))
        else:
            assert len(parse_sheet(response.content).tables) == 1
    assert "5 boxes more (Pi 5): onnx-fp32 on onnxruntime" in page.text
    assert "edgepack build --target arm64 --model session --runtime onnxruntime" in page.text


def test_a_command_with_a_hostile_name_is_one_that_can_be_pasted(
    fill: Filler, store: Engine
) -> None:
    target = "arm64; rm -rf ~"
    setup = fill.setup(fill.release(target=target), "$(reboot)")
    fill.standing(fill.device(), setup, fill.context(), 1_000_000)
    fill.connect().close()
    page = Reader(store).page("/select?target=arm64%3B+rm+-rf+~")
    # The table above has the same, cut.
    *_, line = [each for each in page.text.splitlines() if each.startswith("edgepack build")]
    assert shlex.split(line)[2:4] == ["--target", target]
    assert shlex.split(line)[-1] == "$(reboot)"
