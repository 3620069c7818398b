"""Reads which opsets and operators an ONNX file names. The only preflight file that knows onnx.

It is not aware of runtimes. Used by `edgepack.build.preflight.check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.formats.errors import ConversionError, MissingExtraError


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What a file needs of its runtime.

    Attributes:
        ir: The IR version.
        opsets: Version by domain; `""` is ONNX's own.
        operators: Every operator used, as (domain, name), subgraphs included.
        unknown: Those of ONNX's own domains that their opset does not define.
        external_data: Whether weights lie in other files.
    """

    ir: int
    opsets: Mapping[str, int]
    operators: frozenset[tuple[str, str]]
    unknown: frozenset[tuple[str, str]]
    external_data: bool


def read_onnx(path: Path) -> OnnxModel:
    """Reads the needs of an ONNX file.

    Args:
        path: The file.

    Returns:
        Its versions and operators.

    Raises:
        ConversionError: It is not an ONNX file.
        MissingExtraError: The package onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("onnx", "build", "checking an ONNX file") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ConversionError(f"{path.name}: not an ONNX file: {error}") from error
    opsets = {_domain(each.domain): int(each.version) for each in model.opset_import}
    if not model.ir_version or not opsets:
        raise ConversionError(f"{path.name}: not an ONNX file: it states no IR version or opset")
    own = {(_domain(each.domain), each.name) for each in model.functions}
    nodes = list(_nodes(model.graph))
    for function in model.functions:
        nodes += [inner for node in function.node for inner in _with_subgraphs(node)]
    operators = frozenset((_domain(each.domain), str(each.op_type)) for each in nodes) - own
    unknown = frozenset(
        (domain, name)
        for domain, name in operators
        if domain in ("", "ai.onnx.ml")
        and not onnx.defs.has(name, max_inclusive_version=opsets.get(domain, 1), domain=domain)
    )
    external = any(each.external_data for each in model.graph.initializer)
    return OnnxModel(int(model.ir_version), opsets, operators, unknown, external)


@dataclass(frozen=True, slots=True)
class TypedNode:
    """A node with what a runtime chooses its kernel by.

    Attributes:
        name: The operator, with its domain before it where that is not ONNX's own.
        since: The version of the operator that the file's opset means.
        types: Element types by the schema's constraint, such as `T`; those that are known.
    """

    name: str
    since: int
    types: Mapping[str, str]


def read_nodes(path: Path) -> tuple[TypedNode, ...]:
    """Reads every node of an ONNX file with its types, subgraphs left out.

    Args:
        path: A file that `read_onnx` has taken.

    Raises:
        MissingExtraError: The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "build", "checking an ONNX file") from error
    model = onnx.load(str(path), load_external_data=False)
    opsets = {_domain(each.domain): int(each.version) for each in model.opset_import}
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {each.name: each.data_type for each in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types.setdefault(value.name, value.type.tensor_type.elem_type)
    words = {
        name: onnx.TensorProto.DataType.Name(kind).lower() for name, kind in types.items() if kind
    }
    return tuple(_typed(onnx, node, opsets, words) for node in graph.node)


def _typed(onnx: Any, node: Any, opsets: Mapping[str, int], words: Mapping[str, str]) -> TypedNode:
    domain = _domain(node.domain)
    name = f"{domain}.{node.op_type}" if domain else str(node.op_type)
    opset = opsets.get(domain, 1)
    if not onnx.defs.has(node.op_type, max_inclusive_version=opset, domain=domain):
        # ONNX Runtime's own operators are all of version 1, and onnx knows no types of theirs.
        return TypedNode(name, 1, {})
    schema = onnx.defs.get_schema(node.op_type, opset, domain)
    types: dict[str, str] = {}
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for i, value in enumerate(names):
            if value in words and formal:
                types[formal[min(i, len(formal) - 1)].type_str] = words[value]
    return TypedNode(name, int(schema.since_version), types)


def _domain(name: str) -> str:
    # `ai.onnx` is the long name of the default domain. Source: ONNX IR specification.
    return "" if name == "ai.onnx" else name


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from _with_subgraphs(node)


def _with_subgraphs(node: Any) -> Iterator[Any]:
    yield node
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _nodes(attribute.g)
        for graph in attribute.graphs:
            yield from _nodes(graph)
