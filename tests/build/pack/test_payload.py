"""How a payload is compressed for each architecture's code."""

from __future__ import annotations

import dataclasses
import io
import lzma
import random
import struct

import pytest

from edgepack.build.artifacts import SilentProgress
from edgepack.build.pack import finish_manifest
from edgepack.build.pack.payload import write_payload
from tests.bundles import draft_manifest, release_files

_CALLS = 4000


def _written(arch: str, code: bytes) -> bytes:
    files = release_files() | {"site/code.so": code}
    draft = draft_manifest(files)
    target = dataclasses.replace(draft.target, arch=arch)
    manifest = finish_manifest(dataclasses.replace(draft, target=target), files)
    file = io.BytesIO()
    write_payload(file, manifest, files, SilentProgress())
    assert code in lzma.decompress(file.getvalue())
    return file.getvalue()


def _x86_calls() -> bytes:
    """Calls of one function from many places: distances that all differ."""
    code = bytearray()
    chance = random.Random(1)
    while len(code) < 8 * _CALLS:
        code += bytes(chance.choice(b"\x48\x89\x8b\x90") for _ in range(chance.randint(1, 4)))
        code += b"\xe8" + struct.pack("<i", 0x100000 - len(code) - 5)
    return bytes(code)


def _arm_instructions() -> bytes:
    """Words of four bytes: what a byte may be depends on its place in the word alone."""
    chance = random.Random(1)
    return bytes(
        chance.randrange(8) << 5 | (place % 4) << 3 | chance.randrange(2)
        for place in range(4 * _CALLS)
    )


@pytest.mark.parametrize(
    ("arch", "other", "code"),
    [("x86_64", "aarch64", _x86_calls()), ("aarch64", "x86_64", _arm_instructions())],
)
def test_each_architectures_code_packs_best_with_its_own_settings(
    arch: str, other: str, code: bytes
) -> None:
    assert len(_written(arch, code)) < len(_written(other, code))
