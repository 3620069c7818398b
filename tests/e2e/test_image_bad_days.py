"""What goes wrong when images are made: each time a clear error, and nothing half-done."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.build.image.credentials import Credentials
from edgepack.build.image.media import digest_of
from edgepack.build.image.reference import parse_reference
from edgepack.build.image.registry import Registry
from edgepack.formats.errors import ImageError
from tests.e2e.builds import Cli, CliResult, FullBuild
from tests.e2e.images import Storage, free_port, push_base, registry_running

#: `htpasswd -nbB shop right-password`.
_PASSWORDS = "shop:$2y$05$iKqX8Mj4JIyw33hMrdEET.vbKmZEHSz9h1og0tQOoUlwCcGL6IxYy\n"
_LOGIN = "c2hvcDpyaWdodC1wYXNzd29yZA=="


class Maker:
    """Runs `edgepack image` for the x86-64 bundle, whose build needs nothing foreign."""

    def __init__(self, cli: Cli, bundle: Path, storage: Storage, base: str) -> None:
        self.bundle = bundle
        self.storage = storage
        self.base = base
        self._cli = cli

    def make(self, *arguments: str, tool: str = "buildah", **environment: str) -> CliResult:
        """Makes an image."""
        words = ["image", "--bundle", str(self.bundle), "--tool", tool, *arguments]
        if "--base" not in arguments:
            words += ["--base", self.base]
        return self._cli(*words, env={**self.storage.environment, **environment})


@pytest.fixture(scope="module")
def maker(run_cli: Cli, full_build: FullBuild, image_storage: Storage, image_base: str) -> Maker:
    return Maker(run_cli, full_build.bundle("cpu"), image_storage, image_base)


@pytest.fixture(scope="module")
def layout(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as it comes out when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("good") / "layout"
    done = maker.make("--output", f"oci:{folder}")
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a login."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "passwords").write_text(_PASSWORDS)
    with registry_running(folder / "registry", folder / "passwords") as host:
        yield host


def test_without_any_tool_the_error_names_one_to_install(maker: Maker) -> None:
    done = maker.make("--output", "oci:x", tool="podman", PATH="/nonexistent")
    assert done.status == 4
    assert "podman is not installed here" in done.stderr
    assert "apt install" in done.stderr


def test_a_registry_that_wants_a_login_refuses_and_then_takes_it(
    maker: Maker, layout: Path, closed: str, tmp_path: Path
) -> None:
    tag = f"{closed}/shop/session:1"
    refused = maker.make("--push", "--tag", tag)
    assert refused.status == 10, refused.stderr
    assert f"{tag} was not pushed: the registry {closed} refuses" in refused.stderr
    assert "the tag 1 is as it was" in refused.stderr
    assert "hint: log in" in refused.stderr
    logins = tmp_path / "auth.json"
    logins.write_text(json.dumps({"auths": {closed: {"auth": _LOGIN}}}))
    logins.chmod(0o600)
    taken = maker.make("--push", "--tag", tag, "--json", REGISTRY_AUTH_FILE=str(logins))
    assert taken.status == 0, taken.stderr
    assert taken.value["pushed"]["referrers"] == "tag"
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"auths": {closed: {"auth": "c2hvcDp3cm9uZw=="}}}))
    again = maker.make("--base", f"{closed}/shop/session:1", REGISTRY_AUTH_FILE=str(wrong))
    assert again.status == 10
    assert "refuses shop/session" in again.stderr
    assert "right-password" not in taken.stderr + taken.stdout


def test_a_registry_that_is_not_there_is_named(maker: Maker) -> None:
    host = f"127.0.0.1:{free_port()}"
    done = maker.make("--base", f"{host}/base:1")
    assert done.status == 10
    assert f"the registry {host} cannot be reached" in done.stderr


def test_a_base_without_python_is_named(maker: Maker, image_registry: str, tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("arm64", "amd64")}
    for root in roots.values():
        (root / "etc").mkdir(parents=True)
    push_base(roots, f"{image_registry}/empty:1", tmp_path / "work")
    # What was interrupted before may have left some.
    before = maker.storage.buildah("containers", "--quiet").stdout
    done = maker.make("--base", f"{image_registry}/empty:1", "--output", f"oci:{tmp_path / 'x'}")
    assert done.status == 10, done.stderr
    assert "has no python3" in done.stderr
    # Unpacked elsewhere, and still refused: the image could not start.
    arguments = ("--build-base", maker.base, "--output", f"oci:{tmp_path / 'x'}")
    done = maker.make("--base", f"{image_registry}/empty:1", *arguments)
    assert done.status == 10, done.stderr
    assert "the bundle is for Python 3.11, and the base does not have it" in done.stderr
    assert not (tmp_path / "x").exists()
    assert not [name for name in maker.storage.names() if "edgepack-draft" in name]
    assert maker.storage.buildah("containers", "--quiet").stdout == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a base and what is put on it, and not for the image of both."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=112m", "tmpfs", str(place)]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode != 0 and not os.environ.get("CI"):
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 0, done.stderr
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _leave_free(disk: Path, size_bytes: int) -> None:
    """Fills a disk but for less than any bundle has."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
    os.truncate(filler, filler.stat().st_size - size_bytes)


def test_a_disk_that_fills_up_in_the_middle_leaves_no_image(
    run_cli: Cli, maker: Maker, small_disk: Path, tmp_path: Path
) -> None:
    # Where the tool keeps its images.
    with Storage(small_disk / "storage") as storage:
        small = Maker(run_cli, maker.bundle, storage, maker.base)
        done = small.make("--output", f"oci:{tmp_path / 'image'}")
    assert done.status == 10, done.stderr
    assert "the disk is full" in done.stderr
    assert not list(tmp_path.glob("*image*"))
    shutil.rmtree(small_disk / "storage", ignore_errors=True)
    # Where the build is prepared and finished.
    _leave_free(small_disk, 1_000_000)
    done = maker.make("--output", f"oci:{tmp_path / 'image'}", TMPDIR=str(small_disk))
    assert done.status == 10, done.stderr
    assert "space" in done.stderr
    assert not list(tmp_path.glob("*image*"))
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.fixture
def own_storage(tmp_path: Path) -> Iterator[Storage]:
    """A storage for one test."""
    with Storage(tmp_path / "storage") as storage:
        yield storage


def test_ctrl_c_ends_the_tool_and_leaves_nothing(
    maker: Maker, own_storage: Storage, repository: Path, tmp_path: Path
) -> None:
    storage = own_storage
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = ["image", "--bundle", str(maker.bundle), "--tool", "buildah", "--base", maker.base]
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgepack.cli.main",
            *words,
            "--output",
            f"oci:{tmp_path / 'image'}",
        ],
        env={
            **os.environ,
            **storage.environment,
            "PYTHONPATH": str(repository),
            "TMPDIR": str(temporary),
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(300, child.kill)
    watchdog.start()
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("Building"):
            break
    # Somewhere within the build, which takes longer.
    time.sleep(1.5)
    child.send_signal(signal.SIGINT)
    said = child.stderr.read()
    assert child.wait(60) == 130, said
    watchdog.cancel()
    child.stderr.close()
    assert "interrupted" in said
    assert not list(tmp_path.glob("*image*"))
    assert not [path for path in temporary.iterdir() if path.name.startswith("edgepack-")]
    assert not [name for name in storage.names() if "edgepack-draft" in name]
    assert _processes_with(str(storage.folder)) == []


def _processes_with(word: str) -> list[str]:
    """The command lines and environments of running processes that hold a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in text:
            found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


#: Stands in for docker with buildx and for podman: no engine of theirs runs here. It keeps what
#: it was told and does what their manuals say: writes a layout, removes, loads.
_STAND_IN = """#!{python}
import json, pathlib, shutil, sys
argv = sys.argv
with open({log!r}, "a") as log:
    log.write(json.dumps([pathlib.Path(argv[0]).name, *argv[1:]]) + "\\n")
layout = None
for word in argv:
    if word.startswith("type=oci,"):
        layout = dict(part.split("=") for part in word.split(","))["dest"]
    elif word.startswith("oci:"):
        layout = word.split(":")[1]
if layout:
    shutil.copytree({layout!r}, layout)
    path = pathlib.Path(layout, "index.json")
    index = json.loads(path.read_text())
    index["manifests"] = index["manifests"][:1]
    path.write_text(json.dumps(index))
if "load" in argv:
    shutil.copy(argv[-1], {archive!r})
"""


@pytest.mark.parametrize("tool", ["docker", "podman"])
def test_the_other_tools_are_told_what_their_manuals_say(
    maker: Maker, layout: Path, tool: str, tmp_path: Path
) -> None:
    log, archive = tmp_path / "log", tmp_path / "loaded.tar"
    program = tmp_path / "bin" / tool
    program.parent.mkdir()
    words = {"log": str(log), "layout": str(layout), "archive": str(archive)}
    program.write_text(_STAND_IN.format(python=sys.executable, **words))
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    done = maker.make("--tag", "shop/session:1", tool=tool, PATH=path)
    assert done.status == 0, done.stderr
    assert f"in the storage of {tool} as shop/session:1" in done.stdout
    commands = [json.loads(line) for line in log.read_text().splitlines()]
    verbs = {
        "docker": ["buildx version", "buildx build", "load --input"],
        "podman": ["build --layers", "push localhost/edgepack-draft:amd64", "rmi --force", "load"],
    }
    told = [" ".join(command[1:]) for command in commands]
    assert len(told) == len(verbs[tool])
    assert all(said.startswith(verb) for said, verb in zip(told, verbs[tool], strict=True)), told
    build = next(said for said in told if "--platform linux/amd64" in said)
    assert "--build-arg BUNDLE=bundle.pyz" in build
    # What is shown can be typed: it is what was run.
    assert f"$ {tool} {build.split(' --build-arg')[0]}" in done.stdout.replace("\n", " ")
    listed = subprocess.run(["tar", "tf", archive], capture_output=True, text=True, check=True)
    assert "index.json" in listed.stdout


class _Shop(http.server.BaseHTTPRequestHandler):
    """A registry that gives tokens, and keeps its blobs on another host."""

    blob = b'{"architecture": "arm64"}'
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - one server in the whole test

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization")
        self.seen.append((self.path.partition("?")[0], sent))
        host = self.headers["Host"]
        if self.path.startswith("/token"):
            if sent is not None and sent != Credentials("shop", "right").basic:
                return self._answer(401, b'{"errors": [{"message": "wrong password"}]}')
            return self._answer(200, b'{"token": "for-shop"}')
        if self.path.startswith("/storage"):
            return self._answer(200, self.blob)
        if sent != "Bearer for-shop":
            words = f'Bearer realm="http://{host}/token",service="shop",scope="repository:a:pull"'
            return self._answer(401, b"{}", **{"WWW-Authenticate": words})
        storage = host.replace("127.0.0.1", "localhost")
        return self._answer(307, b"", Location=f"http://{storage}/storage")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_a_token_is_asked_for_and_is_not_carried_to_another_host() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            reference = parse_reference(f"127.0.0.1:{server.server_port}/a:1", "tag")
            digest = digest_of(_Shop.blob)
            registry = Registry(reference, lambda host, name: Credentials("shop", "right"))
            assert registry.small_blob(digest) == {"architecture": "arm64"}
            assert [path for path, _ in _Shop.seen] == [
                f"/v2/a/blobs/{digest}", "/token", f"/v2/a/blobs/{digest}", "/storage",
            ]  # fmt: skip
            assert _Shop.seen[-1] == ("/storage", None)
            # A token that was too narrow does not go along when the next one is asked for.
            registry._authorization = "Bearer too-narrow"
            assert registry.small_blob(digest) == {"architecture": "arm64"}
            registry = Registry(reference, lambda host, name: None)
            assert registry.small_blob(digest) == {"architecture": "arm64"}
            registry = Registry(reference, lambda host, name: Credentials("shop", "wrong"))
            with pytest.raises(ImageError, match="wrong password") as caught:
                registry.small_blob(digest)
            assert "login" in str(caught.value.hint)
        finally:
            server.shutdown()
            thread.join()
