from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.recommender import POPULAR_SCORE, Fallback, Recommender, find_outputs
from tests.runner.simulators import (
    GRAPH_TOP_K,
    POPULAR,
    TOP_K,
    HandClock,
    SimulatedEngine,
    simulated_recommender,
    simulated_release,
)


def test_a_failing_engine_gives_popular_items_and_says_why(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.failing = "out of memory"
    answer = simulated_recommender(tmp_path, engine).recommend(["sku-3"], 4)
    assert answer.items == list(POPULAR[:4])
    assert answer.scores == [POPULAR_SCORE] * 4
    assert answer.fallback is Fallback.ENGINE_FAILURE
    assert answer.failure == "out of memory"


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_score_json_cannot_hold_never_leaves_the_box(tmp_path: Path, poison: float) -> None:
    # As many items as the graph returns, so that the poisoned one is among them.
    engine = SimulatedEngine(catalogue=GRAPH_TOP_K)
    engine.poison = poison
    answer = simulated_recommender(tmp_path, engine).recommend(["sku-3"], 4)
    assert answer.fallback is Fallback.ENGINE_FAILURE
    assert "not a number" in (answer.failure or "")


def test_an_item_outside_the_vocabulary_is_an_engine_failure(tmp_path: Path) -> None:
    engine = SimulatedEngine(catalogue=60)
    recommender = simulated_recommender(tmp_path, engine)
    answer = recommender.recommend(["sku-40"], 4)
    assert answer.fallback is Fallback.ENGINE_FAILURE
    assert "vocabulary" in (answer.failure or "")


def test_an_empty_history_gives_popular_items(tmp_path: Path) -> None:
    answer = simulated_recommender(tmp_path, SimulatedEngine()).recommend([], 3)
    assert (answer.fallback, answer.unknown) == (Fallback.EMPTY_HISTORY, 0)
    assert answer.items == list(POPULAR[:3])


def test_a_history_of_strangers_gives_popular_items_and_counts_them(tmp_path: Path) -> None:
    answer = simulated_recommender(tmp_path, SimulatedEngine()).recommend(["x", "y"], 3)
    assert (answer.fallback, answer.unknown) == (Fallback.NO_KNOWN_ITEMS, 2)


def test_without_a_model_popular_items_are_left(tmp_path: Path) -> None:
    answer = simulated_recommender(tmp_path, None).recommend(["sku-3"], 3)
    assert answer.fallback is Fallback.NO_MODEL


def test_ranking_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no model"):
        simulated_recommender(tmp_path, None).rank(["sku-3"])


def test_popular_items_leave_out_seen_ones_too(tmp_path: Path) -> None:
    recommender = simulated_recommender(tmp_path, None)
    seen = [POPULAR[0], POPULAR[2]]
    answer = recommender.recommend(seen, 2, seen)
    assert answer.items == [POPULAR[1], POPULAR[3]]


def test_the_models_ranking_comes_back_in_item_ids(tmp_path: Path) -> None:
    answer = simulated_recommender(tmp_path, SimulatedEngine()).recommend(["sku-20"], 3)
    assert answer.items == ["sku-20", "sku-19", "sku-21"]
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert (answer.unknown, answer.fallback) == (0, None)


def test_unknown_items_are_skipped_and_counted(tmp_path: Path) -> None:
    recommender = simulated_recommender(tmp_path, SimulatedEngine())
    mixed = recommender.recommend(["gone", "sku-20", "gone"], 3)
    assert mixed.unknown == 2
    assert mixed.items == recommender.recommend(["sku-20"], 3).items


def test_k_items_are_left_when_every_seen_one_is_excluded(tmp_path: Path) -> None:
    history = [f"sku-{i}" for i in (18, 19, 20, 21, 22)]
    recommender = simulated_recommender(tmp_path, SimulatedEngine())
    answer = recommender.recommend(history, TOP_K, history)
    assert len(answer.items) == TOP_K
    assert not set(answer.items) & set(history)


def test_items_older_than_the_models_view_are_excluded_as_well(tmp_path: Path) -> None:
    history = ["sku-19", *["sku-1"] * 10, "sku-20"]
    recommender = simulated_recommender(tmp_path, SimulatedEngine())
    assert "sku-19" not in recommender.recommend(history, 5, history).items


def test_the_engines_time_is_told(tmp_path: Path) -> None:
    clock = HandClock()
    engine = SimulatedEngine(clock=clock, call_ns=48_000)
    assert (
        simulated_recommender(tmp_path, engine, clock).recommend(["sku-3"], 1).compute_ns == 48_000
    )


def test_outputs_are_told_apart_by_their_element_type() -> None:
    scores = TensorSpec("Identity_1", "float32", (1, 5))
    items = TensorSpec("Identity", "int32", (1, 5))
    assert find_outputs((items, scores)) == (1, 0)
    assert find_outputs((scores, items)) == (0, 1)


@pytest.mark.parametrize("dtypes", [("float32",), ("float32", "float32"), ("int32", "int32")])
def test_a_graph_that_ranks_nothing_is_refused(dtypes: tuple[str, ...]) -> None:
    specs = tuple(TensorSpec(f"out{i}", each, (1, 5)) for i, each in enumerate(dtypes))
    with pytest.raises(BundleError, match="scores and items"):
        find_outputs(specs)


def test_a_graph_of_another_history_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="int32"):
        simulated_recommender(tmp_path, SimulatedEngine(length=9))


def test_a_tensor_model_recommends_nothing(tmp_path: Path) -> None:
    release = simulated_release(tmp_path / "tensor", kind_tensor=True)
    vocabulary = simulated_release(tmp_path / "ranker").vocabulary
    assert vocabulary is not None
    with pytest.raises(BundleError, match="tensor model"):
        Recommender(release.manifest, vocabulary, None, HandClock())


def test_the_whole_ranking_is_as_long_as_the_graphs(tmp_path: Path) -> None:
    ranking = simulated_recommender(tmp_path, SimulatedEngine()).rank(["sku-3", "gone"])
    assert len(ranking.items) == len(ranking.scores) == GRAPH_TOP_K
    assert ranking.unknown == 1


def test_fewer_popular_items_than_asked_for_are_no_fault(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    assert release.vocabulary is not None
    manifest = replace(release.manifest, popular=("sku-1",))
    answer = Recommender(manifest, release.vocabulary, None, HandClock()).recommend([], 5)
    assert answer.items == ["sku-1"]
