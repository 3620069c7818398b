"""`edgepack explain` on the sample shop, on the real clothing shop and on a user's own models.

With EDGEPACK_SCREENSHOTS=FOLDER the screenshot of the docs is made anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.explain import Settings, explain
from edgepack.build.explain.page import write_page
from tests.build.explain.test_page import HOSTILE, explanation
from tests.e2e.browser import Visitor, chromium, save_light
from tests.e2e.builds import ESHOP_COLUMNS, Cli
from tests.e2e.small_models import make_models, recommender, specs
from tests.e2e.test_hub_pages import _CONTRAST, NARROW, WIDE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def page(run_cli: Cli, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the clothing shop's static int8 file."""
    path = tmp_path_factory.mktemp("page") / "layers.html"
    log = test_data / "eshop_clothing" / "e-shop-clothing-2008.zip"
    result = run_cli("explain", "--data", log, *ESHOP_COLUMNS, "--html", path)
    assert result.status == 0, result.stderr
    assert result.stdout == ""
    return path


# In TFLite the two products of an attention have no layer of their own any more.
@pytest.mark.parametrize(
    ("variant", "attention", "matrices"),
    [
        ("tflite-static-int8", "block1_attention", 2),
        ("onnx-static-int8", "block1_attention/query", 1),
    ],
)
def test_the_layers_of_an_int8_recommender_are_explained(
    run_cli: Cli, variant: str, attention: str, matrices: int
) -> None:
    options = ("explain", "--variant", variant, "--rows", "300")
    result = run_cli(*options, "--json")
    assert result.status == 0, result.stderr
    value = result.value
    layers = {each["name"]: each for each in value["layers"]}
    for name in ("items", "block0_wide", attention):
        assert layers[name]["quantised"], name
        assert layers[name]["alone"] is not None, name
        assert layers[name]["own_sqnr_db"] > 20, name
    assert not layers["final_norm"]["quantised"]
    # What is one layer's alone is less than what they lose together, or near it.
    lost = [each["alone"]["lost"] for each in value["layers"] if each["alone"]]
    assert lost == sorted(lost, reverse=True)
    assert 0 < max(lost) < 0.2
    assert value["unmatched"] == value["left_out"] == 0
    assert not any("do not answer as the variant does" in each for each in value["words"])
    # A matrix of 64 by 64 in float takes some 12 kB more.
    assert 10_000 < layers[attention]["growth_bytes"] / matrices < 15_000
    assert value["time"]["call"]["low_ns"] > 0
    assert value["time"]["explained"] > 0.5

    table = run_cli(*options, "--no-latency")
    assert table.status == 0
    assert attention in table.stdout
    assert "alone costs" in table.stdout or "No layer by itself" in table.stdout


@pytest.mark.parametrize("variant", ["tflite-dynamic-int8", "onnx-dynamic-int8", "onnx-fp16"])
def test_a_users_own_model_is_explained_by_the_error_of_its_outputs(
    run_cli: Cli, models: Path, tmp_path: Path, variant: str
) -> None:
    words = np.random.default_rng(3).integers(1, 50, (30, 12)).astype(np.int32)
    np.savez(tmp_path / "samples.npz", words=words)
    result = run_cli(
        *("explain", "--model", models / "classifier.keras", "--variant", variant),
        *("--samples", tmp_path / "samples.npz", "--no-latency", "--json"),
    )
    assert result.status == 0, result.stderr
    value = result.value
    assert value["kind"] == "tensor"
    assert 0 <= value["whole"]["lost"] < 0.05
    assert value["whole"]["largest"] is not None
    measured = [each for each in value["layers"] if each["alone"]]
    assert measured
    assert all(each["alone"]["lost"] < 0.05 for each in measured)
    assert value["time"] is None


def test_a_graph_with_a_loop_is_explained_around_it(models: Path, tmp_path: Path) -> None:
    # Two directions of 64 in float are too many bytes to be unrolled.
    model, cache = recommender(models, "bilstm"), Cache(tmp_path / "cache")
    (variant,) = convert_variants(model, specs("tflite-fp16"), cache)
    assert variant.form == "rolled"
    found = explain(model, variant, cache, Settings(rows=40, timing_s=0.0))
    layers = {row.name: row for row in found.layers if row.quantised}
    assert {"items", "classes"} <= set(layers)
    # The products of the inputs, which stand before the loops, are their layers'.
    assert any(name.startswith("bilstm") for name in layers), list(layers)
    assert all(row.alone is not None and row.reason == "" for row in layers.values())


def test_a_variant_that_cannot_be_made_says_why(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("explain", "--variant", "tflite-static-int4")
    assert result.status != 0
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_can_be_read_on_a_phone_in_light_and_dark(
    browser: Browser, page: Path, dark: bool
) -> None:
    visitor = _visitor(browser, page.parent, narrow=True, dark=dark)
    shown = visitor.visit(f"/{page.name}")
    assert shown.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    assert shown.evaluate(_CONTRAST) == []
    assert shown.locator("h1").count() == 1
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert visitor.wrong == []
    visitor.page.close()


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_names_do_nothing_in_a_browser(
    browser: Browser, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(write_page(explanation(tmp_path, HOSTILE[number])))
    visitor = _visitor(browser, tmp_path, narrow=True)
    shown = visitor.visit("/page.html")
    assert shown.locator("script, img").count() == 0
    assert shown.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    assert visitor.wrong == []
    visitor.page.close()


def test_the_screenshot_of_the_docs_is_light(browser: Browser, page: Path, tmp_path: Path) -> None:
    folder = Path(os.environ.get("EDGEPACK_SCREENSHOTS", tmp_path))
    visitor = _visitor(browser, page.parent)
    visitor.visit(f"/{page.name}")
    file = folder / "explain.png"
    save_light(visitor.page, file, 1000)
    assert 10_000 < file.stat().st_size < 200_000
    visitor.page.close()


def _visitor(
    browser: Browser, folder: Path, *, narrow: bool = False, dark: bool = False
) -> Visitor:
    scheme: Any = "dark" if dark else "light"
    page = browser.new_page(viewport=NARROW if narrow else WIDE, color_scheme=scheme)
    return Visitor(page, folder.as_uri())
