from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.runner.bench.emulation import detect_emulation
from edgepack.runner.bench.system import SystemTree
from tests.runner.bench.boxes import X86_CPU, elf, raspberry_pi_4, virtual_machine, write_tree


def test_a_real_arm_board_is_not_emulated(tmp_path: Path) -> None:
    found = detect_emulation(raspberry_pi_4(tmp_path), "aarch64", {})
    assert (found.emulated, found.signs) == (False, ())


def test_a_virtual_machine_is_not_emulated(tmp_path: Path) -> None:
    assert detect_emulation(virtual_machine(tmp_path), "x86_64", {}).emulated is False


# What an arm64 program sees under Debian 12's qemu-user on an x86-64 host, file by file.
@pytest.mark.parametrize(
    ("files", "sign"),
    [
        ({"/proc/sys/kernel/arch": "x86_64\n"}, "the kernel is x86_64"),
        ({"/proc/thread-self/exe": elf(62)}, "x86 code"),
        ({"/proc/cpuinfo": X86_CPU}, "shows an x86 CPU"),
    ],
)
def test_each_sign_alone_gives_user_mode_qemu_away(
    tmp_path: Path, files: dict[str, str | bytes], sign: str
) -> None:
    found = detect_emulation(write_tree(tmp_path, files), "aarch64", {})
    assert found.emulated is True
    assert sign in " ".join(found.signs)


def _link(root: Path, name: str, target: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_qemu_of_the_same_architecture_is_seen_by_its_name(tmp_path: Path) -> None:
    _link(tmp_path, "proc/thread-self/exe", "/usr/bin/qemu-x86_64-static")
    found = detect_emulation(SystemTree(tmp_path), "x86_64", {})
    assert found.signs == ("the running program is QEMU",)


def test_two_answers_to_one_question_give_an_emulator_away(tmp_path: Path) -> None:
    _link(tmp_path, "proc/thread-self/exe", "/opt/emulator")
    _link(tmp_path, "proc/self/exe", "/usr/bin/python3.11")
    assert detect_emulation(SystemTree(tmp_path), "x86_64", {}).emulated is True


def test_an_arm_program_on_an_x86_name_is_noticed_too(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"/proc/cpuinfo": "CPU implementer\t: 0x41\n"})
    assert detect_emulation(tree, "x86_64", {}).emulated is True


def test_a_whole_machine_without_hardware_help_calls_itself_tcg(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"/proc/cpuinfo": "model name\t: QEMU TCG CPU version 2.5+\n"})
    assert detect_emulation(tree, "x86_64", {}).emulated is True


@pytest.mark.parametrize("machine", ["armv7l", "aarch64"])
def test_a_32_bit_program_on_its_own_64_bit_kernel_is_native(tmp_path: Path, machine: str) -> None:
    files: dict[str, str | bytes] = {
        "/proc/sys/kernel/arch": "aarch64",
        "/proc/thread-self/exe": elf(40),
        "/proc/cpuinfo": "CPU implementer\t: 0x41\n",
    }
    assert detect_emulation(write_tree(tmp_path, files), machine, {}).emulated is False


def test_a_sandbox_may_say_so_itself(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    assert detect_emulation(tree, "aarch64", {"EDGEPACK_EMULATED": "1"}).emulated is True
    assert detect_emulation(tree, "aarch64", {"EDGEPACK_EMULATED": "0"}).emulated is False


def test_without_proc_nobody_can_tell(tmp_path: Path) -> None:
    assert detect_emulation(SystemTree(tmp_path), "aarch64", {}).emulated is None


@pytest.mark.parametrize("head", [b"", b"\x7fELF", b"#!/bin/sh\n" * 3, elf(9999)])
def test_a_program_that_cannot_be_read_is_no_sign(tmp_path: Path, head: bytes) -> None:
    tree = write_tree(tmp_path, {"/proc/thread-self/exe": head})
    assert detect_emulation(tree, "aarch64", {}).emulated is False
