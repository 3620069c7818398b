"""An image registry and a container engine in memory, with the interfaces of the real ones."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import CONFIG, INDEX, MANIFEST, Descriptor, digest_of
from edgepack.build.image.platforms import Platform
from edgepack.build.image.reference import Reference
from edgepack.build.image.registry import FetchedManifest, NotThereError, Registry
from edgepack.build.image.tools import Buildah
from edgepack.build.process import ChildResult
from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import EdgepackError, ImageError
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.stage import StageRequest, StageSurroundings, stage
from tests.roots import QuickDisk

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ARM, AMD = Platform("linux", "arm64"), Platform("linux", "amd64")
#: What a base with this Python and nothing else holds.
PYTHON_FILES = {"usr/bin/python3.11": b"\x7fELF", "usr/lib/python3.11/os.py": b""}


def layer_of(files: Mapping[str, bytes]) -> bytes:
    """A compressed layer with some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


class SimulatedRegistry(Registry):
    """A registry that keeps everything in memory; all references lead to the same repository.

    Attributes:
        blobs: By digest.
        manifests: By digest and tag: bytes and media type.
        refuses: A word that makes it refuse each request with that word in its name.
        lists_referrers: Whether it knows the referrers API.
    """

    def __init__(self, *, lists_referrers: bool = True) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.refuses = ""
        self.lists_referrers = lists_referrers

    def open(self, reference: Reference) -> Registry:
        """Takes the place of making a `Registry`."""
        return self

    def manifest(self, name: str) -> FetchedManifest:
        self._check(name)
        if name not in self.manifests:
            raise NotThereError(f"there is no manifests/{name}")
        data, media_type = self.manifests[name]
        return FetchedManifest(data, media_type, digest_of(data))

    def small_blob(self, digest: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads(self.blobs[digest])
        return document

    def fetch_blob(self, descriptor: Mapping[str, Any], path: Path) -> None:
        path.write_bytes(self.blobs[descriptor["digest"]])

    def push_blob(self, path: Path, digest: str) -> bool:
        self._check(digest)
        if digest in self.blobs:
            return False
        self.blobs[digest] = path.read_bytes()
        return True

    def put_manifest(self, name: str, data: bytes, media_type: str) -> Mapping[str, str]:
        self._check(name)
        document = json.loads(data)
        for place in (digest_of(data), name):
            self.manifests.pop(place, None)
            self.manifests[place] = (data, media_type)
        if "subject" in document and self.lists_referrers:
            return {"oci-subject": document["subject"]["digest"]}
        return {}

    def _check(self, name: str) -> None:
        if self.refuses and self.refuses in name:
            raise ImageError(f"the registry refuses {name}", hint="log in")

    def publish_base(
        self, tag: str, platforms: Sequence[Platform], files: Mapping[str, bytes] = PYTHON_FILES
    ) -> None:
        """Puts a base under a tag: an index, or a plain manifest for one platform."""
        manifests: list[Descriptor] = []
        layer = layer_of(files)
        for platform in platforms:
            config = canonical_json(
                {**platform.to_json(), "rootfs": {"diff_ids": [digest_of(gzip.decompress(layer))]}}
            )
            manifest = canonical_json(
                {
                    "mediaType": MANIFEST,
                    "config": self._keep(config, CONFIG),
                    "layers": [self._keep(layer, LAYER)],
                }
            )
            self.put_manifest(digest_of(manifest), manifest, MANIFEST)
            entry = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
            manifests.append({**entry, "platform": platform.to_json()})
        if len(manifests) == 1:
            self.put_manifest(tag, manifest, MANIFEST)
        else:
            index = canonical_json({"mediaType": INDEX, "manifests": manifests})
            self.put_manifest(tag, index, INDEX)

    def _keep(self, data: bytes, media_type: str) -> Descriptor:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


class SimulatedEngine:
    """Does what buildah's two commands do with our Dockerfile; a `RunCommand`.

    Attributes:
        commands: What it was told.
        changes: What the next images' configuration says otherwise.
        more: Files it adds beside the bundle's.
        fails: The verb it fails at, and its last words.
    """

    def __init__(self, registry: SimulatedRegistry) -> None:
        self.registry = registry
        self.commands: list[list[str]] = []
        self.changes: dict[str, Any] = {}
        self.more: dict[str, bytes] = {}
        self.fails: tuple[str, str] = ("", "")
        self.drafts: dict[str, tuple[dict[str, Any], list[bytes]]] = {}

    def __call__(self, command: Sequence[str], environment: Mapping[str, str]) -> ChildResult:
        self.commands.append(list(command))
        program, verb = command[0], command[1]
        assert program == Buildah.name
        if verb == self.fails[0]:
            return ChildResult(125, False, False, "", self.fails[1], 0, 0.1)
        try:
            {"bud": self._build, "push": self._push, "rmi": self._remove, "pull": _ignore}[verb](
                list(command)
            )
        except EdgepackError as error:
            words = f"RUN /bundle.pyz\nerror: {error.message}\nhint: {error.hint}\n"
            return ChildResult(1, False, False, "", words, 0, 0.1)
        return ChildResult(0, False, False, "", "", 0, 0.1)

    def _build(self, command: list[str]) -> None:
        context = Path(command[-1])
        words, labels = _pairs(command, "--build-arg"), _pairs(command, "--label")
        system, architecture = command[command.index("--platform") + 1].split("/")
        staged = context.parent / f"{context.name}-staged"
        around = StageSurroundings(QuickDisk(), lambda name: None)
        stage(open_bundle(context / words["BUNDLE"]), StageRequest(staged), around)
        base = self.registry.manifest(words["BASE"].partition("@")[2]).document
        # Compressed anew, as buildah does.
        lower = [gzip.decompress(self.registry.blobs[each["digest"]]) for each in base["layers"]]
        layers = [gzip.compress(each, compresslevel=1, mtime=0) for each in lower]
        for tree, place in (("runtime", "opt/edgepack"), ("release", "opt/edgepack")):
            files = {
                f"{place}/{path.relative_to(staged / tree)}": path.read_bytes()
                for path in (staged / tree).rglob("*")
                if path.is_file() and not path.is_symlink()
            }
            layers.append(layer_of(files | self.more))
        layers.append(layer_of({"var/lib/edgepack/.keep": b""}))
        config = {
            "os": system,
            "architecture": architecture,
            "config": {"User": "65532:65532", "Labels": labels},
            "rootfs": {"diff_ids": [digest_of(gzip.decompress(each)) for each in layers]},
            **self.changes,
        }
        self.drafts[command[command.index("--tag") + 1]] = (config, layers)

    def _push(self, command: list[str]) -> None:
        config, layers = self.drafts[command[2]]
        layout = Layout.create(Path(command[3].split(":")[1]))
        manifest = {
            "mediaType": MANIFEST,
            "config": layout.write_json(config, CONFIG),
            "layers": [layout.write(each, LAYER) for each in layers],
        }
        layout.finish([layout.write_json(manifest, MANIFEST)])

    def _remove(self, command: list[str]) -> None:
        self.drafts.pop(command[-1], None)


def _pairs(command: list[str], wanted: str) -> dict[str, str]:
    """The values of an option that is given several times as NAME=VALUE."""
    found = [value for flag, value in pairwise(command) if flag == wanted]
    return dict(each.split("=", 1) for each in found)


def _ignore(command: list[str]) -> None:
    """Does nothing."""
