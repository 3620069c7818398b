"""What the tests of images share: a registry, a base made on the spot, a way to run an image.

Nothing is fetched from an image registry: the base is the root that bundles are proved in.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import CONFIG, INDEX, MANIFEST
from edgepack.build.image.reference import Reference, parse_reference
from edgepack.build.image.registry import Registry
from edgepack.formats.canonical import canonical_json, sha256_hex

#: The user of every image; see Dockerfile.arm64.
USER = "65532"
STATE = "/var/lib/edgepack"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def registry_running(folder: Path, passwords: Path | None = None) -> Iterator[str]:
    """Debian's docker-registry on loopback; yields its host and port.

    Args:
        folder: Where it keeps what is pushed.
        passwords: An htpasswd file; None lets everyone in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
    }
    if passwords is not None:
        settings["auth"] = {"htpasswd": {"realm": "shop", "path": str(passwords)}}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        command = ["docker-registry", "serve", str(folder / "config.yml")]
        child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _listens(host):
            assert child.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield host
    finally:
        child.terminate()
        child.wait(timeout=30)


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    try:
        with socket.create_connection((name, int(port)), timeout=1):
            return True
    except OSError:
        return False


def open_registry(reference: Reference) -> Registry:
    """A registry that wants no login."""
    return Registry(reference, lambda host, repository: None)


def push_base(roots: Mapping[str, Path], name: str, work: Path) -> None:
    """Makes an image of each root and pushes them under one name, as a base is published.

    Args:
        roots: By architecture, in the words of images.
        name: Registry, repository and tag.
        work: An empty folder to work in.
    """
    reference = parse_reference(name, "base")
    registry, layout = open_registry(reference), Layout.create(work / "base")
    manifests = []
    for architecture, root in roots.items():
        archive = work / f"{architecture}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as file:
            for path in sorted(root.iterdir()):
                file.add(path, arcname=path.name, filter=_owned_by_root)
        plain = subprocess.run(["gzip", "-dc", archive], capture_output=True, check=True).stdout
        digest = f"sha256:{sha256_hex(archive.read_bytes())}"
        shutil.move(archive, layout.blob(digest))
        size = layout.blob(digest).stat().st_size
        config: dict[str, Any] = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256_hex(plain)}"]},
            # buildah holds the layers against it.
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "base"}],
        }
        layer = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest,
            "size": size,
        }
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": layout.write_json(config, CONFIG),
            "layers": [layer],
        }
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(layout.write_json(manifest, MANIFEST, platform=platform))
        for each in (digest, manifest["config"]["digest"]):
            registry.push_blob(layout.blob(each), each)
        data = layout.blob(manifests[-1]["digest"]).read_bytes()
        registry.put_manifest(manifests[-1]["digest"], data, MANIFEST)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    registry.put_manifest(str(reference.tag), canonical_json(index), INDEX)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


@dataclass(frozen=True, slots=True)
class ImageOnDisk:
    """An image unpacked as an engine would, and what its configuration says.

    Attributes:
        root: Its file system.
        config: Its configuration.
    """

    root: Path
    config: Mapping[str, Any]

    @property
    def entrypoint(self) -> list[str]:
        """What a container starts with."""
        return list(self.config["config"]["Entrypoint"])

    def command(self, state: Path, argv: Sequence[str], status: int | None = None) -> list[str]:
        """How a program of it is started: its user, a read-only root, one volume, no more."""
        command = ["bwrap", "--ro-bind", str(self.root), "/", "--dev", "/dev", "--proc", "/proc"]
        command += ["--bind", str(state), STATE, "--unshare-user", "--uid", USER, "--gid", USER]
        command += ["--unshare-pid", "--as-pid-1", "--unshare-ipc", "--die-with-parent"]
        command += ["--clearenv", "--setenv", "EDGEPACK_EMULATED", "1"]
        command += ["--setenv", "QEMU_CPU", "cortex-a72"]
        for each in self.config["config"]["Env"]:
            name, _, value = each.partition("=")
            command += ["--setenv", name, value]
        if status is not None:
            command += ["--json-status-fd", str(status)]
        return [*command, "--", *argv]

    def run(self, state: Path, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of it to its end."""
        return subprocess.run(
            self.command(state, argv), capture_output=True, text=True, timeout=300, check=False
        )


@contextmanager
def serving(image: ImageOnDisk, state: Path) -> Iterator[str]:
    """Starts a container of an image, yields its address, stops it as an engine does."""
    port = free_port()
    reader, writer = os.pipe()
    argv = [*image.entrypoint, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (state.parent / f"{state.name}.log").open("wb") as log:
        child = subprocess.Popen(
            image.command(state, argv, writer), stdout=log, stderr=log, pass_fds=[writer]
        )
    os.close(writer)
    # Open to the end: bubblewrap writes the exit status there too.
    facts = os.fdopen(reader)
    try:
        inside = json.loads(facts.readline())["child-pid"]
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not answers(f"{address}/healthz"):
            assert child.poll() is None, (state.parent / f"{state.name}.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
        os.kill(inside, getattr(signal, image.config["config"]["StopSignal"]))
        status = child.wait(timeout=60)
        assert status == 0, (status, (state.parent / f"{state.name}.log").read_text())
    finally:
        child.kill()
        child.wait(timeout=30)
        facts.close()


def answers(url: str) -> bool:
    """Whether a URL answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def unpack(layout: Layout, platform: str, folder: Path) -> ImageOnDisk:
    """Unpacks one platform's image of a layout."""
    for descriptor in layout.images():
        manifest = layout.read(descriptor)
        config = layout.read(manifest["config"])
        if f"{config.get('os')}/{config.get('architecture')}" == platform:
            break
    else:
        raise AssertionError(f"no {platform} in {layout.path}")
    folder.mkdir()
    for layer in manifest["layers"]:
        archive = str(layout.blob(layer["digest"]))
        command = ["tar", "--extract", "--gzip", "--file", archive, "--no-same-owner"]
        subprocess.run([*command, "--directory", str(folder)], check=True)
    return ImageOnDisk(folder, config)


class Storage:
    """A storage of buildah's and podman's of its own, and how they are run with it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "storage.conf"
        (folder / "home").mkdir(exist_ok=True)
        self.folder = folder
        self.environment = {
            "CONTAINERS_STORAGE_CONF": str(settings),
            # The tests run where no namespaces of an engine can be had.
            "BUILDAH_ISOLATION": "chroot",
            # Nobody's logins.
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "home"),
        }
        for driver in ("overlay", "vfs"):
            lines = ["[storage]", f'driver = "{driver}"', f'graphroot = "{folder}/root"']
            settings.write_text("\n".join([*lines, f'runroot = "{folder}/run"', ""]))
            # The first shares files between layers and is much quicker; not every disk has it.
            if self.buildah("info").returncode == 0:
                break
            shutil.rmtree(folder / "root", ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Gives back what it mounted: an interrupted build leaves its file systems there."""
        self.buildah("rm", "--all")
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        places = [line.split(" ")[1] for line in mounts]
        for place in sorted(places, reverse=True):
            if Path(place).is_relative_to(self.folder):
                subprocess.run(["umount", place], check=True)

    def buildah(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs buildah."""
        return subprocess.run(
            ["buildah", *arguments],
            env={**os.environ, **self.environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def names(self) -> list[str]:
        """The names of all images in it."""
        return self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").stdout.split()
