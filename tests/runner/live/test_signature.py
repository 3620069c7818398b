from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.formats.errors import DeviceError
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.live.signature import Batching, Signature, make_signature
from tests.runner.http.apps import EchoEngine, recommender_live, tensor_live
from tests.runner.simulators import CATALOGUE, GRAPH_TOP_K, SEQUENCE_LENGTH

NOTHING_SEEN = lambda rows, duration_ns: None  # noqa: E731 - a callback of one expression


def _made(*shapes: tuple[int, ...], names: tuple[str, ...] = ()) -> Signature:
    specs = [
        TensorSpec(name, "float32", shape)
        for name, shape in zip(names or [f"x{i}" for i in range(len(shapes))], shapes, strict=True)
    ]
    return make_signature("tensor", specs, specs)


def test_a_recommenders_tensors_have_their_own_names_whatever_the_runtime_calls_them(
    tmp_path: Path,
) -> None:
    signature = recommender_live(tmp_path).signature
    assert signature.inputs == (TensorSpec("history", "int32", (-1, SEQUENCE_LENGTH)),)
    assert signature.outputs == (
        TensorSpec("scores", "float32", (-1, GRAPH_TOP_K)),
        TensorSpec("items", "int32", (-1, GRAPH_TOP_K)),
    )
    assert signature.catalogue == CATALOGUE
    assert signature.positions == (1, 0)


def test_exporters_names_are_made_plain_unless_that_mixes_them_up() -> None:
    plain = _made((1, 2), (1, 3), names=("serving_default_x:0", "serving_default_y:0"))
    assert [spec.name for spec in plain.inputs] == ["x", "y"]
    mangled = _made(
        (1, 2), (1, 3), names=("StatefulPartitionedCall:0", "StatefulPartitionedCall:1")
    )
    assert mangled.outputs[1].name == "StatefulPartitionedCall:1"


@pytest.mark.parametrize(
    ("shapes", "batching", "shown"),
    [
        (((1, 3),), Batching.ROW_BY_ROW, (-1, 3)),
        (((-1, 3),), Batching.WHOLE, (-1, 3)),
        (((-1, 3), (1, 2)), Batching.ROW_BY_ROW, (-1, 3)),
        (((4, 3),), Batching.NONE, (4, 3)),
        (((),), Batching.NONE, ()),
    ],
)
def test_the_first_extent_tells_how_rows_get_through(
    shapes: tuple[tuple[int, ...], ...], batching: Batching, shown: tuple[int, ...]
) -> None:
    signature = _made(*shapes)
    assert signature.batching is batching
    assert signature.inputs[0].shape == shown


def test_a_fixed_batch_of_one_is_called_row_by_row_and_stacked(tmp_path: Path) -> None:
    engine = EchoEngine(TensorSpec("x", "float32", (1, 3)))
    signature = tensor_live(tmp_path, engine).signature
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen: list[int] = []
    (answer,) = signature.run(engine, [rows], lambda: 0, lambda n, _: seen.append(n))
    np.testing.assert_array_equal(answer, rows)
    assert (engine.calls, seen) == (4, [1, 1, 1, 1])


def test_an_open_batch_goes_through_in_one_call(tmp_path: Path) -> None:
    engine = EchoEngine(TensorSpec("x", "float32", (-1, 3)))
    signature = tensor_live(tmp_path, engine).signature
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen: list[int] = []
    signature.run(engine, [rows], lambda: 0, lambda n, _: seen.append(n))
    assert (engine.calls, seen) == (1, [4])


def test_rows_of_different_shapes_are_the_models_fault() -> None:
    class Growing(EchoEngine):
        def run(self, inputs):  # type: ignore[no-untyped-def]
            self.calls += 1
            return [np.zeros((1, self.calls), np.float32)]

    engine = Growing(TensorSpec("x", "float32", (1, 3)))
    signature = make_signature("tensor", engine.inputs, engine.outputs)
    with pytest.raises(DeviceError, match="rows of different shapes"):
        signature.run(engine, [np.zeros((2, 3), np.float32)], lambda: 0, NOTHING_SEEN)


@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 3), 256), ((1, 2**18), 4), ((1, 2**22), 1), ((5, 3), 1)]
)
def test_the_row_limit_bounds_the_answer(shape: tuple[int, ...], rows: int) -> None:
    assert _made(shape).max_rows == rows
