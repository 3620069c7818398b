"""What the host makes of a worker's answers, crashes and delays, with a simulator of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.artifacts import ConvertedVariant, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.explain import Explanation, Settings, explain
from edgepack.build.explain.asking import suspects
from edgepack.build.explain.job import Question
from edgepack.formats.errors import ConversionError
from tests.build.explain.simulated import SimulatedWorker, make_model, make_variant


def _twin(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> Path:
    return cache.root / "twin"


def _explain(tmp_path: Path, worker: SimulatedWorker, **settings: Any) -> Explanation:
    return explain(
        make_model(tmp_path),
        make_variant(tmp_path),
        Cache(tmp_path / "cache"),
        Settings(**settings),
        runner=worker,
        twin=_twin,
    )


def test_a_variant_that_was_not_made_cannot_be_explained(tmp_path: Path) -> None:
    variant = replace(make_variant(tmp_path), path=None, failure="converter crashed with SIGSEGV")
    with pytest.raises(ConversionError, match="could not be made: converter crashed"):
        explain(make_model(tmp_path), variant, Cache(tmp_path / "cache"))


def test_a_worker_that_cannot_look_says_why_and_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="cannot be looked into: no such operator"):
        _explain(tmp_path, SimulatedWorker(failure="no such operator"))
    assert _explain(tmp_path, SimulatedWorker()).rows == 40


def test_a_layer_the_runtime_dies_of_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    worker = SimulatedWorker(deadly=["b"])
    found = {row.name: row for row in _explain(tmp_path, worker).layers}
    assert found["b"].alone is None
    assert "crashed with SIGSEGV" in found["b"].reason
    assert found["a"].alone is not None
    assert found["c"].alone is not None
    assert [layers for asked, layers in worker.asked if asked is Question.DAMAGE] == [
        ("c", "b", "a"),
        ("a",),
    ]


def test_what_there_was_no_time_for_is_said_and_measured_the_next_time(tmp_path: Path) -> None:
    found = _explain(tmp_path, SimulatedWorker(slow_after=1))
    assert found.left_out == 2
    assert any("2 quantised layers were not measured" in each for each in found.words)
    # The most suspicious came first.
    assert [row.name for row in found.layers if row.alone] == ["c"]
    again = SimulatedWorker()
    assert _explain(tmp_path, again).left_out == 0
    assert (Question.DAMAGE, ("b", "a")) in again.asked


def test_all_but_the_timing_comes_from_the_cache(tmp_path: Path) -> None:
    first = _explain(tmp_path, SimulatedWorker())
    again = SimulatedWorker()
    assert _explain(tmp_path, again) == first
    assert [asked for asked, _ in again.asked] == [Question.TIME]


def test_without_time_for_latency_nothing_is_timed_and_it_says_so(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    found = _explain(tmp_path, worker, timing_s=0.0)
    assert found.time is None
    assert found.time_reason == "not asked for"
    assert Question.TIME not in [asked for asked, _ in worker.asked]


def test_layers_with_the_most_damage_come_first_and_float_ones_last(tmp_path: Path) -> None:
    worker = SimulatedWorker(costs={"a": 0.03, "b": 0.001, "c": 0.02})
    assert [row.name for row in _explain(tmp_path, worker).layers] == ["a", "c", "b", "free"]


def test_the_words_name_the_worst_layer_its_cost_and_what_keeping_it_costs(tmp_path: Path) -> None:
    words = _explain(tmp_path, SimulatedWorker(costs={"a": 0.03})).words
    assert words[0] == (
        "onnx-static-int8 as a whole costs 0.010 of overlap@10 and changes the best item of "
        "2.0%, on 40 held-out inputs."
    )
    assert words[1] == (
        "`a` alone costs 0.030 of overlap@10 and changes the best item of 2.0%; kept in float "
        "the file grows by 4.1 kB and 100% of the loss is won back."
    )


def test_a_loss_within_its_uncertainty_is_blamed_on_no_layer(tmp_path: Path) -> None:
    worker = SimulatedWorker(costs=dict.fromkeys("abc", 0.0005))
    words = _explain(tmp_path, worker).words
    assert "No layer by itself costs more" in words[1]


def test_the_json_has_every_field_and_only_those_that_are_documented(
    tmp_path: Path, repository: Path
) -> None:
    value = _explain(tmp_path, SimulatedWorker()).to_json()
    page = (repository / "docs" / "explain.md").read_text(encoding="utf-8")
    nested = [value, value["whole"], value["layers"][0], value["tensors"][0], value["time"]]
    for each in nested:
        for name in each:
            assert f"`{name}`" in page, name
    assert value["explain_version"] == 1
    assert set(value["layers"][0]["time"]) == {"ns", "low_ns", "high_ns"}


def test_suspects_are_the_quantised_layers_worst_signal_first() -> None:
    look = SimulatedWorker(names=("x", "y")).look()
    assert suspects(look) == ["y", "x"]
