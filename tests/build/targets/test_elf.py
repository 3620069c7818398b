"""Shared libraries cut down to what a loader reads, and the one written in OpenBLAS's place."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import struct
from pathlib import Path

import pytest

from edgepack.build.targets.elf import is_elf, machine, read_linkage, strip
from edgepack.build.targets.no_blas import AARCH64, MESSAGE, X86_64, can_stand_in, make_stand_in

ASKED = ("scipy_cblas_sdot64_", "scipy_cblas_sgemm64_", "scipy_dgesv_64_")


def _with_debug_information() -> bytes:
    """A module whose wheel was never stripped."""
    spec = importlib.util.find_spec("httptools.parser.parser")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()


def test_a_text_a_short_file_and_a_32_bit_library_are_none() -> None:
    assert not is_elf(b"#!/bin/sh\n" * 10)
    assert not is_elf(b"\x7fELF\x02\x01")
    assert not is_elf(b"\x7fELF\x01\x01".ljust(64, b"\0"))


def test_stripping_keeps_every_segments_bytes_and_drops_debug_information() -> None:
    data = _with_debug_information()
    assert b".debug_info" in data
    stripped = strip(data)
    assert b".debug_info" not in stripped
    assert len(stripped) < len(data) / 2
    begin, (size, count) = (
        struct.unpack_from("<Q", data, 32)[0],
        struct.unpack_from("<HH", data, 54),
    )
    for place in range(begin, begin + size * count, size):
        assert stripped[place : place + size] == data[place : place + size]
        offset = struct.unpack_from("<Q", data, place + 8)[0]
        length = struct.unpack_from("<Q", data, place + 32)[0]
        if offset > begin + size * count:
            assert stripped[offset : offset + length] == data[offset : offset + length]
    assert strip(stripped) == stripped


def test_a_stripped_library_loads_and_its_linkage_was_read(tmp_path: Path) -> None:
    data = _with_debug_information()
    linkage = read_linkage(data)
    assert any(each.startswith("libc.so") for each in linkage.needed)
    assert "PyInit_parser" in linkage.defined
    assert any(each.startswith("PyModule") for each in linkage.undefined)
    assert not linkage.defined & linkage.undefined
    path = tmp_path / "stripped.so"
    path.write_bytes(strip(data))
    assert ctypes.PyDLL(str(path)).PyInit_parser


@pytest.mark.parametrize("kind", [X86_64, AARCH64])
def test_the_stand_in_is_the_same_each_time_and_small(kind: int) -> None:
    made = make_stand_in(kind, "libopenblas.so", ASKED)
    assert made == make_stand_in(kind, "libopenblas.so", reversed(ASKED))
    assert is_elf(made)
    assert machine(made) == kind
    assert len(made) < 4096
    assert MESSAGE in made
    assert strip(made) == made
    for name in ASKED:
        assert name.encode() in made


def test_no_stand_in_for_another_machine_or_without_the_inner_product() -> None:
    assert can_stand_in(AARCH64, ASKED)
    assert not can_stand_in(40, ASKED)
    assert not can_stand_in(AARCH64, ASKED[1:])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its code is this machine's or none")
def test_the_stand_in_multiplies_vectors_with_any_step(tmp_path: Path) -> None:
    path = tmp_path / "libopenblas.so"
    path.write_bytes(make_stand_in(X86_64, "libopenblas.so", ASKED))
    sdot = ctypes.CDLL(str(path)).scipy_cblas_sdot64_
    sdot.restype = ctypes.c_float
    size, pointer = ctypes.c_int64, ctypes.c_float * 6
    sdot.argtypes = [size, ctypes.c_void_p, size, ctypes.c_void_p, size]
    left, right = pointer(1, 2, 3, 4, 5, 6), pointer(7, 8, 9, 10, 11, 12)
    assert sdot(6, left, 1, right, 1) == 217
    assert sdot(3, left, 2, right, 1) == 7 + 3 * 8 + 5 * 9
    assert sdot(0, left, 1, right, 1) == 0
