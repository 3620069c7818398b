"""Small synthetic bundles, for the tests of packing, of the bundle's program and of both."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from edgepack.build.cache import Cache
from edgepack.build.pack import PackedBundle, Source, pack_bundle
from edgepack.build.pack.bundle import write_sealed
from edgepack.build.pack.units import service_units
from edgepack.formats.bundle import MANIFEST_MEMBER, PAYLOAD_MEMBER, SBOM_MEMBER
from edgepack.formats.manifest import (
    Candidate,
    ExternalWheel,
    Manifest,
    ModelInfo,
    RuntimeInfo,
    TargetInfo,
)
from edgepack.formats.variants import Format, Precision, RuntimeName
from edgepack.runner.boot.machine import Machine, read_machine

MODEL_FILE = "models/tflite-fp32.tflite"
GOLDEN_FILE = "golden/tflite-fp32.json"

#: A program too small to slow a test that flips every byte, and never run by it.
TINY_PROGRAM: Mapping[str, bytes] = {
    "__main__.py": b"raise SystemExit('not to be run')\n",
    "edgepack/__init__.py": b"",
}

#: Stands in for the runner: says how it was started.
FAKE_RUNNER: Mapping[str, bytes] = {
    "runner/edgepack/__init__.py": b"",
    "runner/edgepack/runner/__init__.py": b"",
    "runner/edgepack/runner/main.py": b"""\
import json, os, sys
def main(argv):
    print(json.dumps({
        "argv": argv, "root": os.environ["EDGEPACK_ROOT"], "state": os.environ["EDGEPACK_STATE"],
        "path": sys.path, "pycache": sys.pycache_prefix,
    }))
    return 5 if "fail" in argv else 0
""",
}


def this_machine() -> Machine:
    """The box the tests run on; bundles made here fit it."""
    return read_machine()


def this_target(machine: Machine, name: str = "here") -> TargetInfo:
    """A target that a box is one of."""
    return TargetInfo(
        name=name,
        sha256="1" * 64,
        arch=machine.arch,
        os=machine.os,
        glibc=machine.glibc or "2.17",
        python=".".join(machine.python.split(".")[:2]),
        memory_mb=64,
        cpu="any",
    )


def release_files(model: bytes = b"a model", **more: Source) -> dict[str, Source]:
    """The files of a small release."""
    return {
        MODEL_FILE: model,
        GOLDEN_FILE: b'{"format":1}',
        "site/numpy/__init__.py": b"",
        "site/numpy/core.py": b"same = 1\n",
        "site/other/core.py": b"same = 1\n",
        **service_units(RuntimeInfo(RuntimeName.LITERT, "2.3.0"), this_target(this_machine())),
        **FAKE_RUNNER,
        **more,
    }


def draft_manifest(
    files: Mapping[str, Source],
    *,
    name: str = "session",
    machine: Machine | None = None,
    target: str = "here",
    external: tuple[ExternalWheel, ...] = (),
) -> Manifest:
    """A manifest for those files and for this machine."""
    machine = machine or this_machine()
    model = files[MODEL_FILE]
    assert isinstance(model, bytes)
    digest = hashlib.sha256(model).hexdigest()
    return Manifest(
        model=ModelInfo(name, "1.2.0", "tensor", "unknown", "0" * 64),
        target=this_target(machine, target),
        runtime=RuntimeInfo(RuntimeName.LITERT, "2.3.0", (), external),
        candidates=(
            Candidate(
                variant="tflite-fp32",
                format=Format.TFLITE,
                precision=Precision.FP32,
                file=MODEL_FILE,
                sha256=digest,
                size=len(model),
                inputs=(),
                outputs=(),
                golden=GOLDEN_FILE,
            ),
        ),
        reason="the only one",
    )


def pack(
    folder: Path,
    files: Mapping[str, Source] | None = None,
    *,
    filename: str = "bundle.pyz",
    name: str = "session",
    machine: Machine | None = None,
    target: str = "here",
    external: tuple[ExternalWheel, ...] = (),
    program: Mapping[str, bytes] | None = TINY_PROGRAM,
) -> PackedBundle:
    """Packs a small bundle the way a build does."""
    files = release_files() if files is None else files
    draft = draft_manifest(files, name=name, machine=machine, target=target, external=external)
    cache = Cache(folder / "cache")
    return pack_bundle(draft, files, folder / filename, cache=cache, program=program)


def member(name: str, data: bytes = b"", **changes: object) -> bytes:
    """One tar member as its raw blocks; `changes` are attributes of its header."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    for key, value in changes.items():
        setattr(info, key, value)
    padding = bytes(-len(data) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + padding


def end_of_tar() -> bytes:
    """The two empty blocks that end a tar."""
    return bytes(2 * tarfile.BLOCKSIZE)


def payload_of(files: Mapping[str, Source]) -> bytes:
    """The raw tar an honest build would write for some files held as bytes."""
    blocks = b"".join(member(path, bytes(data)) for path, data in sorted(files.items()))
    return blocks + end_of_tar()


def forge(
    folder: Path,
    *,
    payload: bytes | None = None,
    compressed: bytes | None = None,
    manifest: bytes | None = None,
    more: Mapping[str, Source] | None = None,
    edit_manifest: Callable[[bytes], bytes] | None = None,
) -> Path:
    """Seals a bundle of any content: what an attacker, not a bad cable, would send.

    Args:
        folder: Where to.
        payload: The raw tar in place of the honest one.
        compressed: The payload's member in place of a compressed tar.
        manifest: `manifest.json` in place of the honest one.
        more: Members beside or in place of the usual ones.
        edit_manifest: Changes the honest manifest's bytes.
    """
    honest = pack(folder, filename="honest.pyz").manifest.to_bytes()
    data = honest if manifest is None else manifest
    if edit_manifest is not None:
        data = edit_manifest(data)
    tar = payload_of(release_files()) if payload is None else payload
    members: dict[str, Source] = {
        **TINY_PROGRAM,
        MANIFEST_MEMBER: data,
        SBOM_MEMBER: b"{}",
        PAYLOAD_MEMBER: lzma.compress(tar) if compressed is None else compressed,
        **(more or {}),
    }
    path = folder / "forged.pyz"
    buffer = io.BytesIO()
    write_sealed(buffer, members)
    path.write_bytes(buffer.getvalue())
    return path


def honest_but_wrong(folder: Path) -> Path:
    """A sealed bundle whose payload has a file of the right size with other bytes."""
    files = {path: data for path, data in release_files().items() if path != MODEL_FILE}
    return forge(
        folder, payload=payload_of(files)[:-1024] + member(MODEL_FILE, b"A MODEL") + end_of_tar()
    )
