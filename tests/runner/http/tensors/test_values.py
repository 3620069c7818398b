from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgepack.runner.http.tensors.binary import (
    array_from_bytes,
    array_to_bytes,
    texts_from_bytes,
    texts_to_bytes,
)
from edgepack.runner.http.tensors.datatypes import BY_NUMPY, BY_V2
from edgepack.runner.http.tensors.values import (
    RaggedError,
    UnfitValueError,
    flatten,
    to_array,
)

_NUMERIC = sorted(name for name in BY_NUMPY if name != "bytes")
_DTYPES = st.sampled_from(_NUMERIC).map(np.dtype)
_ARRAYS = _DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5)))


@given(array=_ARRAYS)
def test_numbers_survive_the_way_through_bytes(array: Any) -> None:
    data = memoryview(b"\7" + array_to_bytes(array))[1:]
    assert len(data) == array.size * BY_NUMPY[array.dtype.name].size_bytes
    back = array_from_bytes(data, array.dtype.name).reshape(array.shape)
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable
    assert back.flags.aligned


@given(array=_ARRAYS)
def test_numbers_survive_the_way_through_json(array: Any) -> None:
    flat = flatten(array.tolist())
    assert flat.shape == array.shape
    back = to_array(flat.values, array.dtype.name).reshape(flat.shape)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


@given(texts=st.lists(st.binary(max_size=20)))
def test_texts_survive_the_way_through_bytes(texts: list[bytes]) -> None:
    assert texts_from_bytes(memoryview(texts_to_bytes(texts))) == texts


@pytest.mark.parametrize("data", [b"\1\0\0", b"\5\0\0\0abcd", b"\xff\xff\xff\xff"])
def test_lengths_that_do_not_add_up_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="left"):
        texts_from_bytes(memoryview(data))


def test_bytes_are_little_endian_and_bools_one_byte() -> None:
    assert array_to_bytes(np.array([1, -2], ">i4")) == b"\1\0\0\0\xfe\xff\xff\xff"
    assert array_to_bytes(np.array([True, False])) == b"\1\0"
    assert array_from_bytes(memoryview(b"\0\2"), "bool").tolist() == [False, True]
    assert texts_to_bytes([b"ab", b""]) == b"\2\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize(
    ("values", "dtype", "odd", "lossy"),
    [
        ([1, True], "int32", True, False),
        ([1, 2.0], "int32", 2.0, False),
        ([1, "2"], "float32", "2", False),
        ([1.0, None], "float32", None, False),
        ([1, 0], "bool", 1, False),
        ([True], "float32", True, False),
        ([0, 256], "uint8", 256, True),
        ([-1], "uint64", -1, True),
        ([2**64], "uint64", 2**64, True),
        ([1.0, 1e39], "float32", 1e39, True),
        ([70000.0], "float16", 70000.0, True),
        ([10**400], "float64", 10**400, True),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    values: list[Any], dtype: str, odd: Any, lossy: bool
) -> None:
    with pytest.raises(UnfitValueError) as caught:
        to_array(values, dtype)
    assert (caught.value.value, caught.value.lossy) == (odd, lossy)


def test_infinities_that_were_sent_are_kept() -> None:
    array = to_array([float("inf"), float("nan")], "float32")
    assert np.isinf(array[0])
    assert np.isnan(array[1])


@pytest.mark.parametrize(
    ("nested", "level", "found", "expected"),
    [
        ([[1, 2], [3]], 1, 1, 2),
        ([[1, 2], 3], 1, None, 2),
        ([1, [2]], 1, 1, None),
        ([[[1]], [[1, 2]]], 2, 2, 1),
    ],
)
def test_lists_that_are_no_tensor_are_located(
    nested: Any, level: int, found: int | None, expected: int | None
) -> None:
    with pytest.raises(RaggedError) as caught:
        flatten(nested)
    error = caught.value
    assert (error.level, error.found, error.expected) == (level, found, expected)


def test_every_datatype_has_its_size_and_both_names() -> None:
    assert len(BY_V2) == len(BY_NUMPY) == 13
    for name in _NUMERIC:
        assert BY_NUMPY[name].size_bytes == np.dtype(name).itemsize
