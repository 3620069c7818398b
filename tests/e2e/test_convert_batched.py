"""Real conversions with a batch dimension: rows that keep to themselves, and what has no batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import ConvertedVariant, Needs
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.convert.onnx_topk import stage_top_k
from edgepack.build.load import load_user_model
from edgepack.build.quality import make_golden, measure_quality
from edgepack.formats.variants import VariantSpec
from tests.e2e.small_models import LENGTH, TOP_K, make_models, recommender, specs

#: Matrix products of several rows add up in another order than those of one.
_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def in_rows(*names: str, card: bool = False) -> list[tuple[VariantSpec, Needs]]:
    return [(spec, Needs(rows=True, card=card)) for spec in specs(*names)]


def _session(variant: ConvertedVariant) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(variant.path), providers=["CPUExecutionProvider"])


def _check_rows(variant: ConvertedVariant, feed: dict[str, Any]) -> None:
    """Each row of a call of all of them is what a call of that row alone gives."""
    session = _session(variant)
    together = session.run(None, feed)
    scale = max(float(np.ptp(each)) for each in together if each.dtype.kind == "f")
    for row in range(len(next(iter(feed.values())))):
        alone = session.run(None, {name: each[row : row + 1] for name, each in feed.items()})
        for whole, single in zip(together, alone, strict=True):
            if single.dtype.kind == "f":
                assert np.abs(whole[row] - single[0]).max() <= _TOLERANCE * scale
            else:
                assert (whole[row] == single[0]).mean() > 0.9


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec", "bilstm"])
def test_every_architecture_takes_rows_that_do_not_change_each_other(
    models: Path, cache: Cache, architecture: str
) -> None:
    model = recommender(models, architecture)
    names = ("onnx-fp32", "onnx-fp16", "onnx-static-int8")
    variants = convert_variants(model, [], cache, needing=in_rows(*names))
    with np.load(model.samples_path) as archive:
        histories = archive["histories"][:33]
    for variant in variants:
        assert variant.failure is None, variant.failure
        assert variant.takes_rows, variant.fixed_because
        assert [spec.shape for spec in variant.inputs] == [(-1, LENGTH)]
        assert [spec.shape for spec in variant.outputs] == [(-1, TOP_K + LENGTH)] * 2
        _check_rows(variant, {"history": histories})
        assert measure_quality(model, variant, cache).samples == 60
        assert len(make_golden(model, variant, cache).sequences) == 16


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec", "bilstm"])
def test_int8_for_a_card_lies_around_zero_and_ranks_as_well(
    models: Path, cache: Cache, architecture: str
) -> None:
    import onnx
    from onnx import TensorProto, numpy_helper

    model = recommender(models, architecture)
    needing = in_rows("onnx-static-int8", card=True)
    (variant,) = convert_variants(model, [], cache, needing=needing)
    assert variant.failure is None, variant.failure
    assert variant.path is not None
    assert "symmetric integer products" in variant.notes
    graph = onnx.load(str(variant.path)).graph
    constants = {each.name: each for each in graph.initializer}
    zeros = [constants[n.input[2]] for n in graph.node if n.op_type.endswith("uantizeLinear")]
    assert zeros
    assert {each.data_type for each in zeros} == {TensorProto.INT8}
    assert not any(numpy_helper.to_array(each).any() for each in zeros)
    assert not any("Integer" in n.op_type or n.op_type.startswith("Dynamic") for n in graph.node)
    with np.load(model.samples_path) as archive:
        _check_rows(variant, {"history": archive["histories"][:33]})
    quality = measure_quality(model, variant, cache)
    assert quality.overlap is not None
    assert quality.overlap > 0.85, quality


def test_a_large_catalogue_is_ranked_in_stages_and_alike(models: Path, cache: Cache) -> None:
    import onnx
    import onnxruntime

    from benchmarks.gpu.grow import grow_onnx, random_histories

    model = recommender(models, "sasrec")
    (variant,) = convert_variants(model, [], cache, needing=in_rows("onnx-fp16"))
    assert variant.path is not None
    assert model.vocabulary is not None
    items = 40_000
    grown = grow_onnx(variant.path.read_bytes(), len(model.vocabulary), items)
    staged = onnx.load_from_string(grown)
    assert stage_top_k(staged) == 1
    feed = {"history": random_histories(7, LENGTH, items)}
    one, several = (
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, feed)
        for each in (grown, staged.SerializeToString())
    )
    for want, got in zip(one, several, strict=True):
        np.testing.assert_array_equal(want, got)


def test_a_file_with_a_batch_of_one_is_the_same_bytes_beside_one_with_rows(
    models: Path, cache: Cache
) -> None:
    model = recommender(models, "sasrec")
    (fixed,) = convert_variants(model, specs("onnx-fp32"), cache)
    both = convert_variants(model, specs("onnx-fp32"), cache, needing=in_rows("onnx-fp32"))
    assert [each.takes_rows for each in both] == [False, True]
    assert both[0].sha256 == fixed.sha256 != both[1].sha256


def test_dynamic_int8_keeps_a_batch_of_one_and_says_why(models: Path, cache: Cache) -> None:
    model = recommender(models, "sasrec")
    name = "onnx-dynamic-int8"
    fixed, asked = convert_variants(model, specs(name), cache, needing=in_rows(name))
    assert (asked.needs.rows, asked.takes_rows, asked.sha256) == (True, False, fixed.sha256)
    assert "rounds by the whole call" in asked.fixed_because


def test_a_users_keras_file_takes_rows(models: Path, cache: Cache, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    picture = rng.uniform(-1, 1, (30, 12, 12, 3)).astype(np.float32)
    extra = rng.uniform(-1, 1, (30, 4)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", picture=picture, extra=extra)
    model = load_user_model(models / "cnn.keras", tmp_path / "samples.npz", cache)
    (variant,) = convert_variants(model, [], cache, needing=in_rows("onnx-fp32"))
    assert variant.takes_rows, (variant.failure, variant.fixed_because)
    _check_rows(variant, {"picture": picture[:9], "extra": extra[:9]})


def _onnx_file(path: Path, batch: int | str, *, mixing: bool = False) -> Path:
    """Writes `y = x @ w`, or one that takes the mean over the rows off first."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if mixing:
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["own"]),
            helper.make_node("MatMul", ["own", "w"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "users",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("batch", "mixing", "why"),
    [
        ("N", False, None),
        (1, False, "the file's own batch is fixed at 1"),
        ("N", True, "a row beside others is"),
    ],
)
def test_a_users_onnx_file_takes_rows_where_its_own_graph_does(
    cache: Cache, tmp_path: Path, batch: int | str, mixing: bool, why: str | None
) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (30, 4)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    path = _onnx_file(tmp_path / "users.onnx", batch, mixing=mixing)
    model = load_user_model(path, tmp_path / "samples.npz", cache)
    (variant,) = convert_variants(model, [], cache, needing=in_rows("onnx-fp32"))
    assert variant.failure is None
    assert variant.takes_rows is (why is None)
    if why is None:
        assert variant.fixed_because == ""
        _check_rows(variant, {"x": x})
    else:
        assert variant.fixed_because.startswith("batch 1: ")
        assert why in variant.fixed_because
        assert [spec.shape[0] for spec in (*variant.inputs, *variant.outputs)] == [1, 1]
