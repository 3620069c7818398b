"""Which layer a tensor belongs to."""

from __future__ import annotations

from edgepack.build.explain.naming import distinct, layer_names, tensor_name


def _layers(*names: str) -> list[str]:
    return layer_names(names, ["MUL"] * len(names))


def test_the_model_and_the_count_of_calls_are_left_out() -> None:
    assert _layers(
        "sasrec_1/final_norm_1/moments/mean",
        "sasrec_1/block0_attention_1/key_1/Tensordot;sasrec_1/other/BiasAdd",
        "sasrec_1/dense_2_1/MatMul:0",
    ) == ["final_norm", "block0_attention/key", "dense_2"]


def test_a_layer_that_is_called_twice_is_two_places() -> None:
    found = _layers("m_1/items_1/Gather", "m_1/dense_1/MatMul", "m_1/items_3/MatMul;m_1/bias_1/add")
    assert found == ["items", "dense", "items (call 2)"]


def test_what_lies_between_layers_has_its_own_name() -> None:
    assert _layers("m_1/Add_1", "m_1/a_1/MatMul", "m_1/b_1/MatMul")[0] == "Add_1"


def test_a_name_that_says_nothing_gives_way_to_the_operator() -> None:
    assert _layers("", "t12_", "StatefulPartitionedCall:0", "tfl.quantize") == [
        f"MUL {place}" for place in range(4)
    ]


def test_names_of_other_exporters_keep_their_scopes() -> None:
    names = ("/layers.0/attn/MatMul_output_0", "/layers.1/attn/MatMul_output_0", "/head/Gemm")
    assert _layers(*names) == ["layers.0/attn", "layers.1/attn", "head"]


def test_operators_of_one_layer_can_be_told_apart() -> None:
    assert distinct(["a", "b", "a"]) == ["a [1]", "b", "a [2]"]


def test_a_tensor_without_a_name_is_called_after_its_layer() -> None:
    assert tensor_name("arith.constant3", "items", "weights") == "items weights"
    assert tensor_name("m_1/a_1/MatMul:0", "a", "activation") == "m_1/a_1/MatMul"


def test_a_product_into_which_the_layer_before_was_fused_is_its_own_layer_s() -> None:
    fused = "m_1/norm_1/add_1;m_1/dense_1/MatMul;m_1/bias_1/add"
    assert _layers("m_1/norm_1/mul", fused) == ["norm", "dense"]
