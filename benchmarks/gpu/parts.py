"""Cuts the scoring part out of a recommender's ONNX file: a state in, the ranked top-k out.

That part reads the whole item table once, so the share of the card's memory bandwidth it
reaches says how far it is from the best that is possible.
"""

from __future__ import annotations

from typing import Any

#: Operators that multiply the state with the item table.
_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "QLinearMatMul")


def scoring_part(model: bytes) -> tuple[bytes, int]:
    """Returns an ONNX file that only scores and ranks, and the bytes of the table it reads.

    Args:
        model: A recommender's ONNX file whose table is in one initializer.

    Returns:
        The file, with one input `state` of [1, units], and the table's bytes.

    Raises:
        ValueError: The last product before the top-k is not with a table.
    """
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_from_string(model)
    made_by = {name: node for node in proto.graph.node for name in node.output}
    tables = {each.name: each for each in proto.graph.initializer}
    product = _last_product(proto, made_by)
    table = _source(product.input[1], made_by, tables)
    if table is None:
        raise ValueError(f"{product.name or product.op_type} multiplies with no table")
    array = numpy_helper.to_array(tables[table])
    state = product.input[0]
    needed = _needed(proto, made_by, stop=state)
    nodes = [node for node in proto.graph.node if id(node) in needed]
    used = {name for node in nodes for name in node.input}
    # A quantised table is multiplied as floats, or with what quantises the state before it.
    kind = tables[table].data_type if array.dtype.kind == "f" else onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "scoring",
        [helper.make_tensor_value_info(state, kind, [1, min(array.shape)])],
        [_with_one_row(output) for output in proto.graph.output],
        [each for each in proto.graph.initializer if each.name in used],
    )
    part = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    data: bytes = part.SerializeToString()
    return data, array.nbytes


def _with_one_row(output: Any) -> Any:
    """Fixes an output's batch, so that its buffers can be made beforehand."""
    extents = output.type.tensor_type.shape.dim
    extents[0].Clear()
    extents[0].dim_value = 1
    return output


def _last_product(proto: Any, made_by: dict[str, Any]) -> Any:
    waiting = [output.name for output in proto.graph.output]
    while waiting:
        node = made_by.get(waiting.pop(0))
        if node is None:
            continue
        if node.op_type in _PRODUCTS:
            return node
        waiting += node.input
    raise ValueError("the graph has no product before its outputs")


def _source(name: str, made_by: dict[str, Any], tables: dict[str, Any]) -> str | None:
    """Follows a tensor back through transposes and dequantising to an initializer."""
    while name not in tables:
        node = made_by.get(name)
        if node is None or node.op_type not in ("Transpose", "DequantizeLinear", "Cast"):
            return None
        name = node.input[0]
    return name


def _needed(proto: Any, made_by: dict[str, Any], stop: str) -> set[int]:
    found: set[int] = set()
    waiting = [output.name for output in proto.graph.output]
    while waiting:
        name = waiting.pop()
        node = made_by.get(name)
        if name == stop or node is None or id(node) in found:
            continue
        found.add(id(node))
        waiting += node.input
    return found
