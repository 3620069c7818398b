"""Real conversions of small recommenders: what the files hold, and that they repeat."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants, reference_outputs
from edgepack.build.quality import check_gate, make_golden, measure_quality
from edgepack.formats.variants import ALL_VARIANTS, Format
from tests.e2e.small_models import (
    CATALOGUE,
    LENGTH,
    TOP_K,
    by_name,
    make_models,
    recommender,
    specs,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def _bytes(variant: ConvertedVariant) -> bytes:
    assert variant.path is not None
    return variant.path.read_bytes()


def _tflite(variant: ConvertedVariant) -> Any:
    from edgepack.build.convert.tflite_file import parse_tflite

    return parse_tflite(_bytes(variant))


def _operators(model: Any) -> Counter[str]:
    from edgepack.build.convert.tflite_file import operator_name

    return Counter(operator_name(model, each) for each in model.subgraphs[0].operators)


def _tables(model: Any) -> int:
    """How many constants of a TFLite file have the item table's shape."""
    graph = model.subgraphs[0]
    constants = [
        each
        for each in graph.tensors
        if model.buffers[each.buffer].data is not None and len(model.buffers[each.buffer].data)
    ]
    return sum(
        list(each.shape) == [CATALOGUE + 1, 64] for each in constants if each.shape is not None
    )


def test_every_variant_of_the_default_model_converts_and_answers_alike(
    models: Path, cache: Cache
) -> None:
    model = recommender(models, "sasrec")
    variants = by_name(convert_variants(model, ALL_VARIANTS, cache))
    for variant in variants.values():
        assert [(each.name, each.dtype, each.shape) for each in variant.inputs] == [
            ("history", "int32", (1, LENGTH))
        ]
        outputs = [(each.name, each.dtype, each.shape) for each in variant.outputs]
        graph_top_k = (1, TOP_K + LENGTH)
        assert outputs[0] == ("scores", "float32", graph_top_k)
        assert outputs[1] == ("items", "int32", graph_top_k)
        quality = measure_quality(model, variant, cache)
        # Random weights score everything alike, so top-1 is noise; most of ten still agree.
        assert quality.overlap is not None
        assert quality.overlap > 0.6, variant.spec.name
    exact = measure_quality(model, variants["tflite-fp32"], cache)
    assert check_gate(exact, model.gate) == []


def test_scores_descend_and_padding_never_comes_out(models: Path, cache: Cache) -> None:
    model = recommender(models, "sasrec")
    with np.load(reference_outputs(model, cache)) as answers:
        scores, items = answers["out0"], answers["out1"]
    assert scores.shape == items.shape == (60, TOP_K + LENGTH)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert items.min() >= 1
    assert items.max() <= CATALOGUE
    golden = make_golden(
        model, convert_variants(model, specs("tflite-static-int8"), cache)[0], cache
    )
    assert len(golden.sequences) == 16
    assert all(len(each.items) == TOP_K for each in golden.sequences)


def test_a_tied_table_is_kept_once_and_static_scores_are_float(models: Path, cache: Cache) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from edgepack.build.convert.tflite_file import operator_name

    model = recommender(models, "sasrec")
    names = ("tflite-fp32", "tflite-dynamic-int8-per-tensor", "tflite-static-int8")
    variants = by_name(convert_variants(model, specs(*names), cache))
    for name in names:
        assert _tables(_tflite(variants[name])) == 1, name
    static = _tflite(variants["tflite-static-int8"])
    graph = static.subgraphs[0]
    gather = next(op for op in graph.operators if operator_name(static, op) == "GATHER")
    product = [op for op in graph.operators if operator_name(static, op) == "FULLY_CONNECTED"][-1]
    assert product.inputs[1] == gather.inputs[0]
    assert graph.tensors[product.inputs[0]].type == schema.TensorType.FLOAT32
    assert graph.tensors[product.inputs[1]].type == schema.TensorType.INT8
    assert graph.tensors[product.outputs[0]].type == schema.TensorType.FLOAT32
    integer_inputs = [
        op
        for op in graph.operators
        if operator_name(static, op) == "FULLY_CONNECTED"
        and graph.tensors[op.inputs[0]].type == schema.TensorType.INT8
    ]
    assert len(integer_inputs) >= 6
    # No product but the scoring one quantises its input anew at each call.
    assert static.operatorCodes[product.opcodeIndex].version == 9


def test_no_tflite_file_needs_operators_of_tensorflow(models: Path, cache: Cache) -> None:
    model = recommender(models, "sasrec")
    for variant in convert_variants(
        model, [spec for spec in ALL_VARIANTS if spec.format is Format.TFLITE], cache
    ):
        assert not any(code.customCode for code in _tflite(variant).operatorCodes)


def test_the_same_model_gives_the_same_bytes_again(
    models: Path, cache: Cache, tmp_path: Path
) -> None:
    model = recommender(models, "gru4rec")
    wanted = specs("tflite-static-int8", "tflite-dynamic-int8", "onnx-static-int8", "onnx-fp16")
    once = convert_variants(model, wanted, cache)
    again = convert_variants(model, wanted, Cache(tmp_path / "other"))
    assert [each.sha256 for each in again] == [each.sha256 for each in once]
    assert all(each.sha256 for each in once)


def test_a_finished_variant_comes_from_the_cache(models: Path, cache: Cache) -> None:
    model = recommender(models, "gru4rec")
    wanted = specs("tflite-dynamic-int8", "onnx-fp32")
    before = convert_variants(model, wanted, cache)

    def never(*_: object) -> Any:
        raise AssertionError("a process was started")

    after = convert_variants(model, wanted, cache, runner=never)
    assert [each.sha256 for each in after] == [each.sha256 for each in before]
    assert [each.elapsed_s for each in after] == [0.0, 0.0]


@pytest.mark.parametrize("architecture", ["gru4rec", "bilstm"])
def test_static_int8_of_a_recurrent_model_comes_out_of_the_unrolled_form(
    models: Path, cache: Cache, architecture: str
) -> None:
    model = recommender(models, architecture)
    variant = by_name(convert_variants(model, specs("tflite-static-int8"), cache))[
        "tflite-static-int8"
    ]
    assert variant.notes.startswith("unrolled")
    operators = _operators(_tflite(variant))
    assert "WHILE" not in operators
    assert operators["FULLY_CONNECTED"] > LENGTH
    quality = measure_quality(model, variant, cache)
    assert quality.overlap is not None
    assert quality.overlap > 0.6


@pytest.mark.parametrize(
    ("architecture", "operator"), [("gru4rec", "GRU"), ("bilstm", "LSTM"), ("sasrec", "Layer")]
)
def test_onnx_has_one_node_for_a_layer_onnx_knows(
    models: Path, cache: Cache, architecture: str, operator: str
) -> None:
    import onnx

    model = recommender(models, architecture)
    variant = by_name(convert_variants(model, specs("onnx-fp32"), cache))["onnx-fp32"]
    found = Counter(node.op_type for node in onnx.load_from_string(_bytes(variant)).graph.node)
    assert "Loop" not in found
    assert sum(count for name, count in found.items() if name.startswith(operator)) >= 1
    quality = measure_quality(model, variant, cache)
    assert quality.overlap == 1.0


def test_onnx_of_the_default_model_is_left_with_what_it_needs(models: Path, cache: Cache) -> None:
    import onnx

    model = recommender(models, "sasrec")
    variant = by_name(convert_variants(model, specs("onnx-fp32"), cache))["onnx-fp32"]
    found = Counter(node.op_type for node in onnx.load_from_string(_bytes(variant)).graph.node)
    # Six in each of two blocks, keys and values without one, and the scoring.
    assert found["MatMul"] == 13
    # The last position is looked up in two places, the items in one. The one cut is of padding's
    # score, which goes into the items' bias where training has made that another number than 0.
    assert (found["Gather"], found["Slice"]) == (3, 1)
    # Padding is masked before each attention and behind the first block.
    assert found["Mul"] == 3
    assert found["Equal"] == found["Not"] == 0


def test_onnx_int8_keeps_the_item_table_once(models: Path, cache: Cache) -> None:
    import onnx

    model = recommender(models, "sasrec")
    variant = by_name(convert_variants(model, specs("onnx-dynamic-int8"), cache))
    graph = onnx.load_from_string(_bytes(variant["onnx-dynamic-int8"])).graph
    shapes = [sorted(each.dims) for each in graph.initializer]
    assert shapes.count([64, CATALOGUE + 1]) == 1
