"""A library that stands where OpenBLAS was, for a box that multiplies no matrices with numpy.

numpy's wheels carry OpenBLAS: 25 MB on a box, 3.3 MB of a bundle, for `dot`, `matmul` and
`linalg`, none of which the runner or a runtime calls. What numpy's modules are linked with must
still be there when they are loaded, and `import numpy` itself takes the inner product of two
vectors. So this library has every symbol that was asked of OpenBLAS: the inner product of float32
vectors is computed, anything else says so and ends the process, as a box must rather stop than
compute with nothing. It is written here, byte for byte the same everywhere, without a compiler.

It is not aware of where the library lies. Used by `edgepack.build.targets.trim`.

Source: System V ABI, chapters 4 and 5; Arm ARM, C6 and C7; Intel SDM, volume 2; Linux system calls
of both architectures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from edgepack.build.targets.elf import HEADER_BYTES, PROGRAM_HEADER_BYTES, SYMBOL_BYTES

#: Numbers of the machines. Source: System V ABI, `e_machine`.
X86_64: Final = 62
AARCH64: Final = 183

#: What a call of anything but the inner product says.
MESSAGE: Final = b"edgepack: this bundle's numpy has no BLAS: dot, matmul and linalg do not work\n"
#: How the inner product's name ends with 64-bit integers; wheels put a prefix before it.
_SDOT: Final = "cblas_sdot64_"
#: The largest page that a kernel of either architecture has.
_PAGE: Final = 0x10000
_SIGABRT: Final = 6
_ABORTED: Final = 134
_STDERR: Final = 2


def can_stand_in(machine: int, symbols: Iterable[str]) -> bool:
    """Tells whether a stand-in for these symbols of OpenBLAS can be made.

    Args:
        machine: The number of the machine.
        symbols: What is asked of OpenBLAS.
    """
    return machine in (X86_64, AARCH64) and any(each.endswith(_SDOT) for each in symbols)


def make_stand_in(machine: int, soname: str, symbols: Iterable[str]) -> bytes:
    """Writes the library.

    Args:
        machine: `X86_64` or `AARCH64`.
        soname: The name that other libraries need it by.
        symbols: What they ask of it.

    Returns:
        A shared library that needs no other one.
    """
    refuse, sdot = _code(machine)
    names = sorted(set(symbols))
    strings, places = _string_table([soname, *names])
    count = len(names) + 1
    # One bucket: the loader looks these few dozen names up once each.
    table = struct.pack("<4I", 1, count, 1, 0)
    table += struct.pack(f"<{len(names)}I", *(*range(2, count), 0))
    hash_at = HEADER_BYTES + 4 * PROGRAM_HEADER_BYTES
    symbols_at = _aligned(hash_at + len(table), 8)
    strings_at = symbols_at + SYMBOL_BYTES * count
    code_at = _aligned(strings_at + len(strings), 16)
    sdot_at = _aligned(code_at + len(refuse), 16)
    entries = bytes(SYMBOL_BYTES)
    for name in names:
        value, size = (sdot_at, len(sdot)) if name.endswith(_SDOT) else (code_at, len(refuse))
        # A global function of a section that is any but the undefined one.
        entries += struct.pack("<IBBHQQ", places[name], 0x12, 0, 1, value, size)
    text_end = sdot_at + len(sdot)
    dynamic_at = _aligned(text_end, 16)
    dynamic = b"".join(
        struct.pack("<qQ", tag, value)
        for tag, value in (
            (14, places[soname]),
            (4, hash_at),
            (5, strings_at),
            (6, symbols_at),
            (10, len(strings)),
            (11, SYMBOL_BYTES),
            (0, 0),
        )
    )
    segments = (
        # Type, flags, place in the file, address, size, alignment: code, data, dynamic, stack.
        (1, 5, 0, 0, text_end, _PAGE),
        (1, 6, dynamic_at, dynamic_at + _PAGE, len(dynamic), _PAGE),
        (2, 6, dynamic_at, dynamic_at + _PAGE, len(dynamic), 8),
        (0x6474E551, 6, 0, 0, 0, 16),
    )
    image = bytearray(dynamic_at + len(dynamic))
    parts = [
        (0, _header(machine, len(segments))),
        (HEADER_BYTES, b"".join(_segment(*each) for each in segments)),
        (hash_at, table),
        (symbols_at, entries),
        (strings_at, strings),
        (code_at, refuse),
        (sdot_at, sdot),
        (dynamic_at, dynamic),
    ]
    for place, part in parts:
        image[place : place + len(part)] = part
    return bytes(image)


def _header(machine: int, segments: int) -> bytes:
    identification = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    sizes = (HEADER_BYTES, PROGRAM_HEADER_BYTES, segments, 64, 0, 0)
    return identification + struct.pack("<HHIQQQI6H", 3, machine, 1, 0, HEADER_BYTES, 0, 0, *sizes)


def _segment(kind: int, flags: int, place: int, address: int, size: int, align: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, place, address, address, size, size, align)


def _string_table(texts: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    table, places = bytearray(1), {}
    for text in texts:
        places[text] = len(table)
        table += text.encode("ascii") + b"\0"
    return bytes(table), places


def _aligned(place: int, size: int) -> int:
    return -(-place // size) * size


def _code(machine: int) -> tuple[bytes, bytes]:
    """Returns the code that refuses, its message behind it, and that of the inner product.

    The inner product takes the number of elements, a vector, its step, the other, its step.
    numpy gives positive steps only.
    """
    return _aarch64_code() if machine == AARCH64 else _x86_64_code()


def _aarch64_code() -> tuple[bytes, bytes]:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    call = 0xD4000001
    number, first, second, third = 8, 0, 1, 2
    words = [
        *(move(first, _STDERR), 0, move(third, len(MESSAGE)), move(number, 64), call),  # write
        *(move(number, 172), call),  # getpid, which leaves the process in the first register
        *(move(second, _SIGABRT), move(number, 129), call),  # kill
        *(move(first, _ABORTED), move(number, 94), call),  # exit_group
    ]
    # adr x1, the message right behind the code; the distance counts from the instruction itself.
    distance = 4 * (len(words) - 1)
    words[1] = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | second
    refuse = struct.pack(f"<{len(words)}I", *words) + MESSAGE
    sdot = struct.pack(
        "<11I",
        0x1E2703E0,  # fmov s0, wzr
        0xF100001F,  # cmp x0, #0
        0x5400010D,  # b.le to ret
        0xBD400021,  # ldr s1, [x1]
        0xBD400062,  # ldr s2, [x3]
        0x8B020821,  # add x1, x1, x2, lsl #2
        0x8B040863,  # add x3, x3, x4, lsl #2
        0x1F020020,  # fmadd s0, s1, s2, s0
        0xF1000400,  # subs x0, x0, #1
        0x54FFFF41,  # b.ne to the first ldr
        0xD65F03C0,  # ret
    )
    return refuse, sdot


def _x86_64_code() -> tuple[bytes, bytes]:
    def load(opcode: int, value: int) -> bytes:
        return struct.pack("<BI", opcode, value)

    eax, edx, esi, edi = 0xB8, 0xBA, 0xBE, 0xBF
    call = b"\x0f\x05"
    after = b"".join(
        (
            *(load(edx, len(MESSAGE)), load(eax, 1), call),  # write
            *(load(eax, 39), call),  # getpid
            *(b"\x89\xc7", load(esi, _SIGABRT), load(eax, 62), call),  # mov edi, eax; kill
            *(load(edi, _ABORTED), load(eax, 231), call),  # exit_group
        )
    )
    # lea rsi, [rip + what is left of the code]: the message right behind it.
    refuse = load(edi, _STDERR) + b"\x48\x8d\x35" + struct.pack("<i", len(after)) + after + MESSAGE
    sdot = bytes.fromhex(
        "0f57c0"  # xorps xmm0, xmm0
        "4885ff"  # test rdi, rdi
        "7e19"  # jle to ret
        "f30f100e"  # movss xmm1, [rsi]
        "f30f5909"  # mulss xmm1, [rcx]
        "f30f58c1"  # addss xmm0, xmm1
        "488d3496"  # lea rsi, [rsi + rdx * 4]
        "4a8d0c81"  # lea rcx, [rcx + r8 * 4]
        "48ffcf"  # dec rdi
        "75e7"  # jnz to the first movss
        "c3"  # ret
    )
    return refuse, sdot
