"""What an image adds to its base, beside a plain FastAPI and ONNX Runtime image of the same model.

    python -m benchmarks.images --bundle dist/session-1.0.0-arm64.pyz \
      --model dist/session-onnx-fp32.onnx --base registry.example/python:3.11

Both are built in this run, with buildah, on the same base. The plain one is what a person writes:
the packages in one layer, the app and the model in another. It is given an advantage: uv leaves
out the byte code that pip would write. Needs Debian's `buildah`; a base on loopback may be plain
HTTP.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uv

from edgepack.build.image.layout import Layout
from edgepack.build.image.reference import parse_reference
from edgepack.build.image.registry import is_loopback
from edgepack.runner.boot.archive import open_bundle

_PACKAGES = ("fastapi", "uvicorn", "onnxruntime", "numpy")
_APP = Path(__file__).with_name("serving") / "fastapi_app.py"
_MB = 1e6
_TIMEOUT_S = 900
_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY site /usr/local/lib/python3.11/dist-packages
COPY app /app
USER 65532:65532
ENV PYTHONPATH=/usr/local/lib/python3.11/dist-packages
EXPOSE 8080
ENTRYPOINT ["python3", "/app/fastapi_app.py", "/app/release", "--port", "8080"]
"""


@dataclass(frozen=True, slots=True)
class Added:
    """What an image adds to its base.

    Attributes:
        added_bytes: Bytes of the files in its own layers.
        added_compressed_bytes: Bytes of those layers as they travel.
    """

    added_bytes: int
    added_compressed_bytes: int


def build_plain_image(
    bundle: Path, model: Path, base: str, folder: Path, environment: Mapping[str, str]
) -> Added:
    """Builds the plain image for arm64 and says what it adds.

    Args:
        bundle: Whose vocabulary and manifest the app reads.
        model: The same model as an ONNX file.
        base: The base.
        folder: A new folder to work in.
        environment: Variables for buildah, beside this process's own.
    """
    _write_context(bundle, model, folder)
    variables = {**os.environ, **environment}
    command = ["buildah", "bud", "--layers", "--platform", "linux/arm64", "--tag", "plain"]
    if is_loopback(parse_reference(base, "--base").registry):
        command.append("--tls-verify=false")
    _call([*command, "--build-arg", f"BASE={base}", str(folder)], variables)
    _call(["buildah", "push", "plain", f"oci:{folder / 'layout'}:image"], variables)
    layout = Layout(folder / "layout")
    (descriptor,) = layout.images()
    # The base of these tests and of distroless alike: everything but the two COPY layers.
    own = layout.read(descriptor)["layers"][-2:]
    unpacked = sum(_size_of(folder / name) for name in ("site", "app"))
    return Added(unpacked, sum(int(layer["size"]) for layer in own))


def build_ours(bundle: Path, base: str, folder: Path, environment: Mapping[str, str]) -> Added:
    """Builds the bundle's image and says what it adds."""
    command = [sys.executable, "-m", "edgepack.cli.main", "image", "--bundle", str(bundle)]
    command += ["--tool", "buildah", "--base", base, "--output", f"oci:{folder}", "--json"]
    said = json.loads(_call(command, {**os.environ, **environment}))
    (image,) = said["images"]
    return Added(image["added_bytes"], image["added_compressed_bytes"])


def main() -> int:
    """Builds both and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle for arm64")
    parser.add_argument("--model", type=Path, required=True, help="the same model as ONNX")
    parser.add_argument("--base", required=True, help="a base with Python 3.11 for arm64")
    options = parser.parse_args()
    unpacked = open_bundle(options.bundle).unpacked_bytes
    with tempfile.TemporaryDirectory() as folder:
        ours = build_ours(options.bundle, options.base, Path(folder) / "ours", {})
        plain = build_plain_image(
            options.bundle, options.model, options.base, Path(folder) / "plain", {}
        )
    print(f"the bundle, unpacked     {unpacked / _MB:7.1f} MB")
    for name, found in (("edgepack image", ours), ("plain image", plain)):
        travels = found.added_compressed_bytes / _MB
        print(f"{name:<24} {found.added_bytes / _MB:7.1f} MB   {travels:6.1f} MB as it travels")
    print(f"ratio                    {ours.added_bytes / plain.added_bytes:7.3f}")
    return 0


def _write_context(bundle: Path, model: Path, folder: Path) -> None:
    release = folder / "app" / "release"
    release.mkdir(parents=True)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    shutil.copy(_APP, folder / "app")
    shutil.copy(model, release / "model.onnx")
    opened = open_bundle(bundle)
    for record, content in opened.read_payload():
        data = b"".join(content)
        if record.path == "vocabulary.json":
            (release / record.path).write_bytes(data)
    document = opened.manifest.to_json()
    document["candidates"] = [{**document["candidates"][0], "file": "model.onnx"}]
    (release / "manifest.json").write_text(json.dumps(document))
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(folder / "site")]
    command += ["--python-platform", "aarch64-manylinux_2_36", "--python-version", "3.11"]
    # The versions of this environment's lock, so that the figure does not move by itself.
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in _PACKAGES]
    _call([*command, "--only-binary", ":all:", *pins], dict(os.environ))


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _call(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
