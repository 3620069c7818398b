"""Emulators, sandboxes and tools of the host, as far as they can be asked without starting any."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import pytest

from edgepack.build.emulate.binfmt import find_interpreter, registration_command
from edgepack.build.emulate.doctor import check_host, missing
from edgepack.build.emulate.root import Root, RootUnavailableError
from edgepack.build.emulate.sandbox import Bind, bubblewrap_command, chroot_command
from edgepack.build.targets.find import load_target
from edgepack.formats.errors import Problem

ENTRY = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""
ROOT = Root(Path("/cache/a root"), "aarch64", "bookworm", "id")
BINDS = (Bind(Path("/rel ease"), "release"), Bind(Path("/out"), "out", writable=True))


def test_an_emulator_is_found_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "my-arm").write_text(ENTRY)
    found = find_interpreter("aarch64", tmp_path)
    assert found is not None
    assert (found.path, found.flags) == ("/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "POF")
    assert find_interpreter("x86_64", tmp_path) is None


@pytest.mark.parametrize(("old", "new"), [("enabled", "disabled"), ("POF", "PO"), ("b700", "2800")])
def test_an_emulator_that_would_not_work_in_a_root_is_passed_over(
    old: str, new: str, tmp_path: Path
) -> None:
    (tmp_path / "qemu-aarch64").write_text(ENTRY.replace(old, new))
    assert find_interpreter("aarch64", tmp_path) is None
    assert find_interpreter("aarch64", tmp_path / "not mounted") is None


def test_registering_by_hand_is_one_command() -> None:
    command = registration_command("aarch64")
    assert "/usr/lib/binfmt.d/qemu-aarch64.conf" in command
    assert "/proc/sys/fs/binfmt_misc/register" in command


def test_bubblewrap_shows_the_root_read_only_and_nothing_of_the_host() -> None:
    command = bubblewrap_command(ROOT, ["python3"], BINDS, {"A": "b"}, network=False)
    text = " ".join(command)
    assert text.startswith("bwrap --ro-bind /cache/a root /")
    assert "--ro-bind /rel ease /mnt/release" in text
    assert "--bind /out /mnt/out" in text
    assert "--unshare-net" in text
    assert "--clearenv" in text
    assert "/sys" not in text
    assert command[-2:] == ["--", "python3"]
    assert "--unshare-net" not in bubblewrap_command(ROOT, ["x"], (), {}, network=True)


def test_the_fallback_quotes_what_it_hands_to_the_shell() -> None:
    command = chroot_command(ROOT, ["python3", "-c", "print('a b')"], BINDS, {}, network=False)
    assert command[0] == "unshare"
    assert "--net" in command
    script = command[-1]
    assert "mount --bind '/rel ease' '/cache/a root/mnt/release'" in script
    assert "mount -o remount,bind,ro '/cache/a root/mnt/release'" in script
    assert "remount,bind,ro '/cache/a root/mnt/out'" not in script
    assert "/sys" not in script


def test_what_is_missing_is_named_with_its_command() -> None:
    problems = [
        Problem("mmdebstrap", "is not installed", "apt install mmdebstrap"),
        Problem("arch-test", "is not installed", "apt install arch-test"),
    ]
    error = RootUnavailableError("aarch64", problems)
    assert error.exit_code == 4
    assert "mmdebstrap: is not installed; arch-test: is not installed" in error.message
    assert error.hint == "apt install mmdebstrap && apt install arch-test"


def test_doctor_names_each_missing_tool_and_how_to_install_it() -> None:
    def no_version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    target = load_target("arm64" if platform.machine() != "aarch64" else "cpu")
    checks = check_host([target], which=lambda name: None, version=no_version)
    fixes = missing(checks)
    assert set(fixes) >= {"tensorflow", "onnx", "uv", "mmdebstrap", "bwrap", "arch-test"}
    assert f"qemu-{target.arch}-static" in fixes
    assert "bubblewrap" in fixes["bwrap"]
    assert "qemu-user-static" in fixes[f"qemu-{target.arch}-static"]
    assert "edgepack[build]" in fixes["tensorflow"]


def test_doctor_asks_for_no_emulator_where_none_is_needed() -> None:
    native = load_target("cpu" if platform.machine() == "x86_64" else "arm64")
    checks = check_host([native], which=lambda name: f"/usr/bin/{name}", version=lambda name: "1")
    assert all(each.ok for each in checks)
    assert not [each for each in checks if "qemu" in each.name]
