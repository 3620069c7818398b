"""Reads and shortens ELF shared libraries, byte for byte the same everywhere.

Only 64-bit little-endian ones, as every target has. It needs no tool of any toolchain. It is not
aware of wheels or sites. Used by `edgepack.build.targets.trim` and
`edgepack.build.targets.no_blas`.

Source: System V ABI, chapters 4 and 5; Linux Standard Base 5.0, 10.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 64
PROGRAM_HEADER_BYTES: Final = 56
SECTION_HEADER_BYTES: Final = 64
SYMBOL_BYTES: Final = 24
#: Identification of a 64-bit little-endian file.
_MAGIC: Final = b"\x7fELF\x02\x01"
_DYNAMIC: Final = 6
_DYNSYM: Final = 11
_NEEDED: Final = 1
_SONAME: Final = 14


@dataclass(frozen=True, slots=True)
class Linkage:
    """What a shared library gives to others and takes from them.

    Attributes:
        soname: Its own name, empty where it has none.
        needed: The libraries it is loaded with.
        defined: Symbols that others may use.
        undefined: Symbols that it takes from others.
    """

    soname: str
    needed: frozenset[str]
    defined: frozenset[str]
    undefined: frozenset[str]


def is_elf(data: bytes) -> bool:
    """Tells whether a file is one that this module reads."""
    return data[: len(_MAGIC)] == _MAGIC and len(data) >= HEADER_BYTES


def strip(data: bytes) -> bytes:
    """Takes out of a library what no loader reads.

    That is the full symbol table, debug information and the section headers.

    Args:
        data: An ELF file.

    Returns:
        The bytes of its segments at the places they had; zeros between them. A loader maps
        segments and reads nothing else.
    """
    begin, size, count = _program_headers(data)
    kept = [(0, HEADER_BYTES), (begin, begin + size * count)]
    for index in range(count):
        offset = struct.unpack_from("<Q", data, begin + index * size + 8)[0]
        length = struct.unpack_from("<Q", data, begin + index * size + 32)[0]
        kept.append((offset, offset + length))
    result = bytearray(max(end for _, end in kept))
    for start, end in kept:
        result[start:end] = data[start:end]
    # No section headers: neither their place nor their number nor their names.
    struct.pack_into("<Q", result, 40, 0)
    struct.pack_into("<HHH", result, 58, SECTION_HEADER_BYTES, 0, 0)
    return bytes(result)


def read_linkage(data: bytes) -> Linkage:
    """Reads a library's dynamic section and symbols.

    Args:
        data: An ELF file that still has its section headers.
    """
    soname = ""
    needed: set[str] = set()
    defined: set[str] = set()
    undefined: set[str] = set()
    sections = list(_sections(data))
    for kind, offset, length, link in sections:
        if kind not in (_DYNAMIC, _DYNSYM):
            continue
        strings = sections[link][1]
        if kind == _DYNSYM:
            for place in range(offset + SYMBOL_BYTES, offset + length, SYMBOL_BYTES):
                name, _, _, section = struct.unpack_from("<IBBH", data, place)
                (defined if section else undefined).add(_text(data, strings + name))
        else:
            for place in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<qQ", data, place)
                if tag == _NEEDED:
                    needed.add(_text(data, strings + value))
                elif tag == _SONAME:
                    soname = _text(data, strings + value)
    return Linkage(soname, frozenset(needed), frozenset(defined), frozenset(undefined))


def machine(data: bytes) -> int:
    """Returns the number of the machine that an ELF file is for."""
    return int(struct.unpack_from("<H", data, 18)[0])


def _program_headers(data: bytes) -> tuple[int, int, int]:
    begin = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    return begin, size, count


def _sections(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yields kind, place, length and linked section of each section."""
    begin = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    for index in range(count):
        yield struct.unpack_from("<4xI16xQQI", data, begin + index * size)


def _text(data: bytes, begin: int) -> str:
    return data[begin : data.index(b"\0", begin)].decode("ascii", "replace")
