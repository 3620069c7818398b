"""Reads a user's ONNX file: checks it, gathers its external data, says what its inputs are.

Used by `load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepack.build.preflight import onnx_file, tables
from edgepack.build.preflight.check import check_onnx_operators
from edgepack.build.targets.target import Runtime
from edgepack.formats.errors import ConversionError, MissingExtraError
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import RuntimeName


def read_onnx(path: Path, copy: Path) -> list[TensorSpec]:
    """Writes a self-contained copy of an ONNX model and describes its inputs.

    Args:
        path: The user's file; external data lies beside it.
        copy: Where the copy goes, all weights inside.

    Returns:
        The inputs in graph order, initialisers left out.

    Raises:
        ConversionError: Not ONNX, an operator that the opset or every ONNX Runtime lacks, or
            external data that is not there.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("onnx", "build", "reading an ONNX model") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, TypeError) as error:
        raise ConversionError(f"{path} is not an ONNX model: {error}") from error
    if not model.graph.node:
        raise ConversionError(
            f"{path} is not an ONNX model: its graph has no nodes",
            hint="check that the file was written to its end",
        )
    _gather_external_data(path, model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "no reason")
        raise ConversionError(
            f"{path} is not a valid ONNX model: {first}",
            hint="export it again with an opset that has every operator",
        ) from error
    copy.write_bytes(model.SerializeToString(deterministic=True))
    _check_operators(path, copy)
    constants = {each.name for each in model.graph.initializer}
    return [_spec(each) for each in model.graph.input if each.name not in constants]


def _check_operators(path: Path, copy: Path) -> None:
    newest = Runtime(RuntimeName.ONNXRUNTIME, tables.newest_onnxruntime())
    if problems := check_onnx_operators(onnx_file.read_onnx(copy), newest):
        raise ConversionError(
            f"{path} needs what ONNX Runtime does not have: {'; '.join(map(str, problems))}",
            hint="export it without custom operators; a bundle carries no library of theirs",
        )


def _gather_external_data(path: Path, model: Any) -> None:
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    missing = sorted(
        {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location" and not (path.parent / entry.value).is_file()
        }
    )
    if missing:
        raise ConversionError(
            f"{path} keeps weights in {', '.join(missing)}, which is not there",
            hint="copy the external data file beside the model, under its own name",
        )
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ConversionError(f"{path}: its external data cannot be read: {error}") from error


def _spec(value: Any) -> TensorSpec:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    shape = tuple(each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim)
    return TensorSpec(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), shape)
