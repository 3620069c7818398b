from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.formats.errors import DeviceError
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import check_inputs, open_engine

_SPECS = (TensorSpec("history", "int32", (1, 5)), TensorSpec("mask", "float32", (-1, 5)))


def _good() -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return [np.zeros((1, 5), np.int32), np.zeros((3, 5), np.float32)]


@pytest.mark.parametrize("runtime", list(RuntimeName))
def test_a_missing_file_is_named_before_any_runtime_is_imported(
    runtime: RuntimeName, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"none\.bin: no such model file"):
        open_engine(runtime, tmp_path / "none.bin")


def test_too_few_inputs_are_refused() -> None:
    with pytest.raises(DeviceError, match="takes 2 inputs, got 1"):
        check_inputs(_SPECS, _good()[:1])


def test_another_element_type_is_refused_with_both_names() -> None:
    arrays = _good()
    arrays[0] = arrays[0].astype(np.int64)
    with pytest.raises(DeviceError, match="'history': dtype int64, expected int32"):
        check_inputs(_SPECS, arrays)


@pytest.mark.parametrize("shape", [(1, 6), (5,), (1, 5, 1), (2, 5)])
def test_another_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    arrays = _good()
    arrays[0] = np.zeros(shape, np.int32)
    with pytest.raises(DeviceError, match=r"'history': shape .* expected \[1, 5\]"):
        check_inputs(_SPECS, arrays)


def test_a_variable_extent_takes_any_size() -> None:
    check_inputs(_SPECS, _good())
