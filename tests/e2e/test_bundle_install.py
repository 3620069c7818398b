"""The bundle's own program, really started by the system's Python, on real disks."""

from __future__ import annotations

import http.server
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.manifest import ExternalWheel
from tests.bundles import pack, release_files

#: A box has Debian's python3; where the tests run under another Python, bundles fit that one.
PYTHON = sys.executable
WHEEL = "brought-1.0-py3-none-any.whl"


def run(
    bundle: Path, *argv: str | Path, expect: int = 0, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Starts `python3 BUNDLE …` with nothing of this checkout on its path."""
    done = subprocess.run(
        [PYTHON, "-I", str(bundle), *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=bundle.parent,
        **more,
    )
    assert done.returncode == expect, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


def launch(root: Path, *argv: str, **more: Any) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, str(root / "bin" / "edgepack-runner"), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        **more,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> PackedBundle:
    return pack(tmp_path_factory.mktemp("bundle"), program=None)


@pytest.fixture
def copy(tmp_path: Path, bundle: PackedBundle) -> Path:
    """The bundle as it came over the wire, free to be damaged."""
    return Path(shutil.copy(bundle.path, tmp_path / "copy.pyz"))


@pytest.fixture
def big(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path, release_files(os.urandom(4_000_000)), filename="big.pyz", program=None)


def test_a_box_verifies_installs_starts_and_uninstalls(tmp_path: Path, copy: Path) -> None:
    root = tmp_path / "root"
    assert json.loads(run(copy, "verify", "--json").stdout)["files"] == len(release_files())
    assert json.loads(run(copy, "doctor", "--json").stdout)["ok"] is True
    run(copy, "install", "--root", root)
    said = launch(root, "serve", "--port", "0")
    assert said["argv"] == ["serve", "--port", "0"]
    assert said["root"] == str(root)
    assert said["state"] == str(root / "state")
    assert not [path for path in said["path"] if "-packages" in path]
    run(copy, "uninstall", "--root", root)
    assert not root.exists()


def test_the_launcher_needs_nothing_of_the_environment(tmp_path: Path, copy: Path) -> None:
    root = tmp_path / "root"
    run(copy, "install", "--root", root)
    link = tmp_path / "runner"
    link.symlink_to(root / "bin" / "edgepack-runner")
    evil = tmp_path / "evil"
    (evil / "edgepack").mkdir(parents=True)
    (evil / "edgepack" / "__init__.py").write_text("raise SystemExit('the wrong edgepack')")
    done = subprocess.run(
        [PYTHON, str(link), "bench"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=evil,
        env={**os.environ, "PYTHONPATH": str(evil)},
    )
    assert json.loads(done.stdout)["root"] == str(root)


def test_byte_code_goes_to_the_state_and_not_into_the_release(tmp_path: Path, copy: Path) -> None:
    root = tmp_path / "root"
    run(copy, "install", "--root", root)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    launch(root, "serve", env=environment)
    assert not list((root / "releases").rglob("__pycache__"))
    assert not list((root / "releases").rglob("*.pyc"))
    assert list((root / "state" / "pycache").rglob("*.pyc"))


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_run_and_bench_unpack_once_and_start_the_runner(
    tmp_path: Path, copy: Path, verb: str
) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = {"run": "serve", "bench": "bench"}[verb]
    first = json.loads(run(copy, verb, "--port", "0", env=environment).stdout)
    assert first["argv"] == [command, "--port", "0"]
    release = next((tmp_path / "cache" / "edgepack").glob("*/releases/*"))
    before = release.stat().st_ino
    again = json.loads(run(copy, verb, "fail", expect=5, env=environment).stdout)
    assert again["root"] == first["root"]
    assert release.stat().st_ino == before


def test_a_bundle_cut_short_says_so_to_any_python(copy: Path) -> None:
    data = copy.read_bytes()
    for share in (0.2, 0.9, 0.998):
        copy.write_bytes(data[: int(len(data) * share)])
        done = run(copy, "verify", expect=1)
        assert "cut-short-or-damaged.copy-it-again" in done.stderr
        assert "Traceback" not in done.stderr
    # Python finds the archive when only the seal is incomplete.
    copy.write_bytes(data[:-9])
    done = run(copy, "verify", expect=7)
    assert f"is cut short: {len(data) - 9} of {len(data)} bytes" in done.stderr


@pytest.mark.parametrize(
    "name", ["manifest.json", "payload.tar.xz", "edgepack/runner/boot/main.py"]
)
def test_a_flipped_bit_stops_every_command_before_it_begins(
    tmp_path: Path, copy: Path, name: str
) -> None:
    data = bytearray(copy.read_bytes())
    with zipfile.ZipFile(copy) as archive:
        info = archive.getinfo(name)
    data[info.header_offset + 30 + len(name) + info.compress_size // 2] ^= 4
    copy.write_bytes(data)
    for argv in (["verify"], ["install", "--root", str(tmp_path / "root")], ["run"]):
        done = run(copy, *argv, expect=7)
        assert f"is damaged in {name}" in done.stderr
        assert "hint: copy or download the bundle again" in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_full_disk_leaves_the_current_release(
    tmp_path: Path, copy: Path, big: PackedBundle
) -> None:
    """A file-size limit stops the write at a byte, as a full disk does."""
    root = tmp_path / "root"
    run(copy, "install", "--root", root)
    before = (root / "current").readlink()

    def limit() -> None:
        # Without the signal the write fails with EFBIG.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = run(big.path, "install", "--root", root, expect=8, preexec_fn=limit)
    assert "no space left" in done.stderr
    assert (root / "current").readlink() == before
    assert not [path for path in root.rglob("*") if ".tmp" in path.name or path.name == "tmp"]
    run(big.path, "install", "--root", root)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; the file-size limit stands in for it")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_small_disk_is_refused_before_anything_is_written(
    small_disk: Path, big: PackedBundle, copy: Path
) -> None:
    done = run(big.path, "install", "--root", small_disk / "root", expect=8)
    assert "MB free; this bundle needs" in done.stderr
    assert not (small_disk / "root").exists()
    run(copy, "install", "--root", small_disk / "root")
    assert launch(small_disk / "root")["argv"] == []


def test_a_read_only_disk_is_said_so_and_still_runs(small_disk: Path, copy: Path) -> None:
    state = small_disk.parent / "state"
    run(copy, "install", "--root", small_disk / "root", "--state", state)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    done = run(copy, "install", "--root", small_disk / "root", expect=8)
    assert "Read-only file system" in done.stderr
    assert launch(small_disk / "root")["state"] == str(state)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_the_current_release(
    tmp_path: Path, copy: Path, number: signal.Signals
) -> None:
    root = tmp_path / "root"
    run(copy, "install", "--root", root)
    before = (root / "current").readlink()
    # Compresses to next to nothing and takes a while to write.
    large = pack(tmp_path, release_files(bytes(60_000_000)), filename="large.pyz", program=None)
    argv = [PYTHON, str(large.path), "install", "--root", str(root)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while not any((root / "blobs").glob("tmp/*")) and time.monotonic() < deadline:
            time.sleep(0.001)
        child.send_signal(number)
        child.communicate(timeout=30)
    assert child.returncode == {2: 130, 15: 143, 9: -9}[number]
    assert (root / "current").readlink() == before
    if number != signal.SIGKILL:
        assert not (root / "blobs" / "tmp").exists()
    run(copy, "install", "--root", root)
    assert not (root / "blobs" / "tmp").exists()


def test_two_installs_at_once_both_end_well(tmp_path: Path, copy: Path, big: PackedBundle) -> None:
    root = tmp_path / "root"
    children = [
        subprocess.Popen(
            [PYTHON, str(path), "install", "--root", str(root)], stdout=subprocess.DEVNULL
        )
        for path in (copy, big.path, copy, big.path)
    ]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0, 0]
    assert len(list((root / "releases").iterdir())) == 2
    assert launch(root)["root"] == str(root)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("brought/__init__.py"), "")
        archive.writestr(
            zipfile.ZipInfo("brought-1.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n",
        )
        wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(zipfile.ZipInfo("brought-1.0.dist-info/WHEEL"), wheel)
        archive.writestr(zipfile.ZipInfo("brought-1.0.dist-info/RECORD"), "")
    (folder / WHEEL).write_bytes(buffer.getvalue())
    return folder


@pytest.fixture
def thin(tmp_path: Path, wheels: Path) -> Path:
    digest = sha256_hex((wheels / WHEEL).read_bytes())
    external = (ExternalWheel("brought", "1.0", WHEEL, digest),)
    return pack(tmp_path, filename="thin.pyz", external=external, program=None).path


@pytest.fixture
def web(wheels: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(wheels), **kwargs)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_thin_bundle_takes_its_wheel_from_a_folder_or_a_url(
    tmp_path: Path, thin: Path, wheels: Path, web: str
) -> None:
    done = run(thin, "install", "--root", tmp_path / "none", expect=8)
    assert "three ways" in done.stderr
    for name, source in (("folder", str(wheels)), ("web", web)):
        root = tmp_path / name
        run(thin, "install", "--root", root, "--wheels", source)
        assert str(root / "current" / "external") in [
            str(root / "current" / Path(path).name) for path in launch(root)["path"]
        ]
    done = run(thin, "install", "--root", tmp_path / "lost", "--wheels", f"{web}/missing", expect=8)
    assert "404" in done.stderr


def test_pip_fetches_a_wheel_only_by_its_hash(tmp_path: Path, thin: Path, wheels: Path) -> None:
    if subprocess.run(
        [PYTHON, "-m", "pip", "--version"], capture_output=True, check=False
    ).returncode:
        done = run(thin, "install", "--root", tmp_path / "root", "--fetch", expect=8)
        assert "--fetch needs pip" in done.stderr
        return
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    argv = [PYTHON, str(thin), "install", "--root", str(tmp_path / "root"), "--fetch"]
    subprocess.run(argv, check=True, env=environment, timeout=60)
    assert (tmp_path / "root/current/external/brought/__init__.py").exists()
    (wheels / WHEEL).write_bytes((wheels / WHEEL).read_bytes() + b"\0")
    argv[4] = str(tmp_path / "other")
    done = subprocess.run(
        argv, check=False, env=environment, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 8
    assert "pip could not download" in done.stderr
    assert not (tmp_path / "other").exists()
