"""Makes one ONNX variant out of the fp32 base. Runs in a worker.

It is not aware of TensorFlow or of where the base came from. Imports onnx and ONNX Runtime's
quantisers; used by `worker`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.job import Job, Outcome
from edgepack.build.convert.onnx_file import (
    file_specs,
    head_product,
    merge_initializers,
    save_onnx,
    sort_nodes,
    tie_tables,
)
from edgepack.build.convert.onnx_graph import Graph
from edgepack.build.convert.onnx_topk import stage_top_k
from edgepack.build.convert.onnx_weights import pack_weights
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import Precision

#: Products and what hands integers on between them; sums and normalisations stay float.
_STATIC_TYPES: Final = ["MatMul", "Gemm", "Conv", "ConvTranspose", "Gather", "MaxPool", "Relu"]
#: Products, and looking up rows of the table they share.
_CARD_TYPES: Final = ["MatMul", "Gemm", "Conv", "Gather"]
_RECURRENT: Final = ("GRU", "LSTM")
_DYNAMIC_TYPES: Final = ["MatMul", "Gemm", "Gather", "LSTM"]
#: Scores near each other must not become equal before they are ranked.
_FLOAT_TYPES: Final = ["TopK", "Softmax", "LogSoftmax"]
#: Ranges settle after some hundred rows.
_CALIBRATION_ROWS: Final = 300
#: From so many elements on a product is quicker in integers: float32 weights of this size no
#: longer stay in the first caches of a core.
_LARGE: Final = 1 << 16
_LOOPS: Final = ("Loop", "Scan", "If")


def write_onnx(job: Job) -> Outcome:
    """Writes one variant into `job.out`.

    Raises:
        ConversionError: The base has a form that cannot be quantised, or the quantiser fails.
    """
    import onnx

    logging.disable(logging.WARNING)
    if job.spec is None:
        raise AssertionError("an ONNX job has a variant")
    precision = job.spec.precision
    model = onnx.load(str(job.source))
    _name_nodes(model)
    notes = ""
    if precision.is_int8:
        _refuse_loops(model)
        if precision is not Precision.STATIC_INT8:
            model, notes = _rounded_where_it_pays(model, job.out)
        else:
            model, notes = _even(model, job) if job.needs.card else _static(model, job)
    elif precision is Precision.FP16:
        model = _half(model)
        sort_nodes(model)
    merge_initializers(model)
    tie_tables(model)
    if job.needs.card and stage_top_k(model):
        notes = ", ".join(filter(None, (notes, "top-k in stages")))
    del model.graph.value_info[:]
    save_onnx(model, job.out / job.spec.file_name)
    inputs, outputs = file_specs(model)
    return Outcome(inputs=inputs, outputs=outputs, notes=notes)


def _name_nodes(model: Any) -> None:
    # The quantisers choose nodes by name, and a user's file may have none.
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"


def _refuse_loops(model: Any) -> None:
    if loops := sorted({n.op_type for n in model.graph.node if n.op_type in _LOOPS}):
        raise ConversionError(f"ONNX Runtime's quantiser cannot see into {', '.join(loops)}")


def _half(model: Any) -> Any:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    return convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_FLOAT_TYPES],
    )


def _rounded_where_it_pays(model: Any, work: Path) -> tuple[Any, str]:
    """Computes large products in integers; small ones get weights that are unpacked at load.

    Rounding what comes in takes as long as a product with a small matrix, and costs accuracy.
    """
    graph = Graph(model)
    sizes = {
        node.name: max(
            (math.prod(graph.shapes.get(each, ())) for each in node.input[1:]), default=0
        )
        for node in graph.nodes
        if node.op_type in ("MatMul", "Gemm") and graph.constant(node.input[1]) is not None
    }
    head = head_product(model)
    small = {name for name, size in sizes.items() if size < _LARGE and name not in head}
    integer = [
        node.name
        for node in graph.nodes
        if node.op_type in _DYNAMIC_TYPES and node.name not in small
    ]
    packed = pack_weights(model, lambda node: node.name in small or node.op_type == "GRU")
    quantised, _ = _dynamic(model, work, nodes=integer)
    return quantised, f"{packed} weights unpacked at load" if packed else ""


def _dynamic(
    model: Any, work: Path, nodes: Sequence[str] | None = None, types: Sequence[str] | None = None
) -> tuple[Any, str]:
    """Quantises weights, and activations by what each call brings.

    Args:
        model: An ONNX model.
        work: Where the quantiser may write.
        nodes: The only nodes to quantise; all if None.
        types: The only operator types; `_DYNAMIC_TYPES` if None.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before, after = work / "before.onnx", work / "after.onnx"
    onnx.save(model, str(before))
    try:
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=list(types or _DYNAMIC_TYPES),
            nodes_to_quantize=list(nodes) if nodes is not None else None,
            # Unsigned weights: the signed kernels of x86 without VNNI saturate at 16 bits,
            # so the same file would rank differently on two boxes.
            # Source: ONNX Runtime, "Quantize ONNX models", U8S8 on AVX2.
            weight_type=QuantType.QUInt8,
            per_channel=False,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(str(after)), ""
    finally:
        before.unlink(missing_ok=True)
        after.unlink(missing_ok=True)


def _static(model: Any, job: Job) -> tuple[Any, str]:
    """Quantises the body over real inputs; the scoring product stays dynamic.

    Eight bits give a catalogue of thousands 256 different scores, so what ranks them must not
    have a fixed range. In a graph for several rows that product stays float: a dynamic range is
    that of the whole call, and a row's answer would depend on the others.
    """
    head = head_product(model)
    quantised = _quantised(model, job, _STATIC_TYPES, exclude=head, unsigned=True)
    inputs, _ = file_specs(model)
    # ONNX Runtime has no static LSTM, and no integer GRU at all.
    lstms = [node.name for node in model.graph.node if node.op_type == "LSTM"]
    together = job.needs.rows and all(spec.shape[:1] == (-1,) for spec in inputs)
    if together:
        parts = ["integer products", *(["float scoring"] if head else [])]
        floats = sorted({n.op_type for n in model.graph.node if n.op_type in _RECURRENT})
        return quantised, ", ".join([*parts, *(f"float {name}" for name in floats)])
    if head or lstms:
        quantised, _ = _dynamic(quantised, job.out, nodes=[*head, *lstms], types=_DYNAMIC_TYPES)
    kept = [name for name in ("GRU",) if any(n.op_type == name for n in model.graph.node)]
    parts = ["integer products", *(["dynamic scoring"] if head else [])]
    parts += [*(["dynamic LSTM"] if lstms else []), *(f"float {name}" for name in kept)]
    return quantised, ", ".join(parts)


def _even(model: Any, job: Job) -> tuple[Any, str]:
    """Quantises over real inputs the way a card's integer products take it.

    Signed, with zero in the middle; the item table is one, with one scale, for looking up and
    for scoring. Products hand on floats, so scores are not rounded before they are ranked.

    Source: NVIDIA TensorRT's developer guide, "Working with Quantized Types": explicit
    quantisation is symmetric.
    """
    quantised = _quantised(model, job, _CARD_TYPES, exclude=(), unsigned=False)
    floats = sorted({node.op_type for node in model.graph.node if node.op_type in _RECURRENT})
    return quantised, ", ".join(["symmetric integer products", *(f"float {n}" for n in floats)])


def _quantised(
    model: Any, job: Job, types: Sequence[str], *, exclude: Sequence[str], unsigned: bool
) -> Any:
    """Runs ONNX Runtime's static quantiser.

    Args:
        model: An ONNX model.
        job: Where it may write, and the samples to calibrate with.
        types: Operator types to quantise.
        exclude: Nodes that stay float.
        unsigned: 0 to 255 with a zero point, outputs too; else -127 to 127 around zero, inputs
            and weights only.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kind = QuantType.QUInt8 if unsigned else QuantType.QInt8
    even = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "OpTypesToExcludeOutputQuantization": list(types),
    }
    before, after = job.out / "before.onnx", job.out / "after.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), str(before))
    inputs, _ = file_specs(model)
    try:
        quantize_static(
            before,
            after,
            _Calibration(job.samples, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(types),
            nodes_to_exclude=list(exclude),
            activation_type=kind,
            weight_type=kind,
            per_channel=False,
            extra_options={} if unsigned else even,
        )
        return onnx.load(str(after))
    finally:
        before.unlink(missing_ok=True)
        after.unlink(missing_ok=True)


class _Calibration:
    """Feeds real rows to ONNX Runtime's calibrator, which asks until it gets None."""

    def __init__(self, samples: Path, inputs: Sequence[Any]) -> None:
        with np.load(samples, allow_pickle=False) as archive:
            if "calibration" in archive.files and len(inputs) == 1:
                columns = {inputs[0].name: archive["calibration"]}
            else:
                columns = {spec.name: archive[spec.name] for spec in inputs}
        self._rows = self._iterate(columns, {spec.name: spec.dtype for spec in inputs})

    @staticmethod
    def _iterate(
        columns: dict[str, npt.NDArray[Any]], dtypes: dict[str, str]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        rows = min(_CALIBRATION_ROWS, *(len(each) for each in columns.values()))
        for i in range(rows):
            yield {name: each[i : i + 1].astype(dtypes[name]) for name, each in columns.items()}

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Returns the next row by input name, or None after the last."""
        return next(self._rows, None)
