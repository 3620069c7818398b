"""The bundle's manifest: what is in it, for which box, why this variant, made from what.

It is not aware of archives or files. Anyone may import it; standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from edgepack.formats.canonical import canonical_json, parse_json, sha256_hex
from edgepack.formats.errors import BundleError
from edgepack.formats.fields import FieldReader
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.typed import check_value, from_plain
from edgepack.formats.variants import Format, Precision, RuntimeName

#: The newest manifest format this code reads and the one it writes.
MANIFEST_FORMAT = 1
MAX_MANIFEST_BYTES = 16 * 2**20

ModelKind = Literal["recommender", "tensor"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model a bundle carries.

    Attributes:
        name: The model project's name.
        version: Its version.
        kind: Whether it ranks a catalogue or maps tensors to tensors.
        architecture: Such as `sasrec`; `unknown` for a user's own file.
        sha256: Hash of the trained model every variant was made from.
        sequence_length: Items of history the graph takes; None for a tensor model.
        top_k: The most items an answer may have; None for a tensor model.
        graph_top_k: Items the graph returns: `top_k` and room for seen items to drop.
        catalogue_size: Items of the vocabulary; None for a tensor model.
        vocabulary_sha256: Hash of `vocabulary.json`; None for a tensor model.
    """

    name: str
    version: str
    kind: ModelKind
    architecture: str
    sha256: str
    sequence_length: int | None = None
    top_k: int | None = None
    graph_top_k: int | None = None
    catalogue_size: int | None = None
    vocabulary_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """The kind of box a bundle was made for and checked against.

    Attributes:
        name: The target's name.
        sha256: Hash of the target's definition and lock.
        arch: `x86_64` or `aarch64`, as `platform.machine()` says it.
        os: `linux`.
        glibc: The C library's lowest version, such as `2.36`.
        python: The interpreter's minor version, such as `3.11`.
        memory_mb: The box's memory.
        cpu: The CPU model it was verified on, in QEMU's words.
        cpu_flags: Flags `/proc/cpuinfo` must show.
        p99_budget_ms: The latency budget, or None.
    """

    name: str
    sha256: str
    arch: str
    os: str
    glibc: str
    python: str
    memory_mb: int
    cpu: str
    cpu_flags: tuple[str, ...] = ()
    p99_budget_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ExternalWheel:
    """A wheel a thin bundle leaves out: the box brings it, or install takes it by hash."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """The one inference runtime of a bundle.

    Attributes:
        name: Which runtime.
        version: Its version.
        providers: Execution providers in order of preference; empty means the default.
        external: Wheels that are not in the bundle.
    """

    name: RuntimeName
    version: str
    providers: tuple[str, ...] = ()
    external: tuple[ExternalWheel, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant in the bundle, with the proof that came before shipping.

    Attributes:
        variant: Its name, such as `tflite-dynamic-int8`.
        format: File format.
        precision: Precision.
        file: Path in the release, such as `models/tflite-dynamic-int8.tflite`.
        sha256: Hash of that file.
        size: Its bytes.
        inputs: In file order.
        outputs: In file order.
        golden: Path of the golden answers in the release.
        quality: Metrics against the fp32 original (see `edgepack.build.artifacts.Quality`).
        preflight: What was checked without running it.
        verification: What happened when it ran on the target.
        max_batch: The most rows of one call; 1 where the graph's batch is fixed. Above 1 the
            first extent of every input and output is -1.
        options: How it was opened when it was tuned; None where it was not. A box that has not
            chosen for itself opens it so.
    """

    variant: str
    format: Format
    precision: Precision
    file: str
    sha256: str
    size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: str
    quality: Mapping[str, Any] = field(default_factory=dict)
    preflight: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    max_batch: int = 1
    options: EngineOptions | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the payload: path in the release, hash, bytes, permission bits."""

    path: str
    sha256: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a box must know before it trusts a bundle.

    Attributes:
        model: The model.
        target: The kind of box.
        runtime: The runtime.
        candidates: At least one variant; the first is the one chosen at build time.
        reason: Why that one, in words.
        files: Every file of the payload, sorted by path.
        popular: Item ids, most popular first: the answer when the model cannot give one.
        reference: Distributions of history length and scores at build time, for drift.
        provenance: Tool versions, seeds and hashes of the inputs.
    """

    model: ModelInfo
    target: TargetInfo
    runtime: RuntimeInfo
    candidates: tuple[Candidate, ...]
    reason: str
    files: tuple[FileRecord, ...] = ()
    popular: tuple[str, ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def candidate(self, variant: str | None = None) -> Candidate:
        """Returns a candidate by name; the chosen one by default.

        Raises:
            BundleError: The bundle has no such candidate.
        """
        if variant is None:
            return self.candidates[0]
        for each in self.candidates:
            if each.variant == variant:
                return each
        names = ", ".join(each.variant for each in self.candidates)
        raise BundleError(f"the bundle has no candidate '{variant}'; it has {names}")

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest as JSON values."""
        body = cast("dict[str, Any]", _plain(self))
        for candidate in body["candidates"]:
            # Older runners know no batch, and what has none says nothing of it.
            if candidate["max_batch"] == 1:
                del candidate["max_batch"]
            if candidate["options"] is None:
                del candidate["options"]
        return {"format": MANIFEST_FORMAT, **body}

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of `manifest.json`."""
        return canonical_json(self.to_json())

    @property
    def id(self) -> str:
        """The release's id: the SHA-256 of `to_bytes()`."""
        return sha256_hex(self.to_bytes())


def parse_manifest(data: bytes) -> Manifest:
    """Parses `manifest.json`.

    Args:
        data: The file's bytes.

    Returns:
        The manifest; unknown fields are ignored, so its `to_bytes()` may be shorter. The
        release id is the hash of the bytes as they came.

    Raises:
        BundleError: Not a manifest, of a newer format, or with fields that disagree.
    """
    document = parse_json(data, what="manifest.json", limit=MAX_MANIFEST_BYTES)
    read = FieldReader(document, "manifest")
    found = read.integer("format", minimum=1)
    if found > MANIFEST_FORMAT:
        raise BundleError(
            f"manifest.json has format {found}; this edgepack reads up to {MANIFEST_FORMAT}",
            hint="install a newer edgepack, or build the bundle with this one",
        )
    manifest = Manifest(
        model=_read_model(read.mapping("model")),
        target=_read_target(read.mapping("target")),
        runtime=_read_runtime(read.mapping("runtime")),
        candidates=read.items("candidates", _read_candidate),
        reason=read.text("reason"),
        files=read.items("files", _read_file),
        popular=read.texts("popular"),
        reference=read.mapping("reference", {}),
        provenance=read.mapping("provenance", {}),
    )
    _check_consistency(manifest)
    return manifest


def _check_consistency(manifest: Manifest) -> None:
    if not manifest.candidates:
        raise BundleError("manifest.candidates: the list is empty; at least one is needed")
    by_path = {record.path: record for record in manifest.files}
    if len(by_path) != len(manifest.files):
        raise BundleError("manifest.files: a path is listed twice")
    for candidate in manifest.candidates:
        record = by_path.get(candidate.file)
        if record is None or (record.sha256, record.size) != (candidate.sha256, candidate.size):
            raise BundleError(
                f"manifest.candidates: {candidate.variant} names {candidate.file}, which "
                "manifest.files does not list with that hash and size"
            )
        _check_batch(candidate)
        if candidate.golden not in by_path:
            raise BundleError(
                f"manifest.candidates: {candidate.variant} names {candidate.golden}, which "
                "manifest.files does not list"
            )


def _check_batch(candidate: Candidate) -> None:
    if candidate.max_batch == 1:
        return
    fixed = [
        spec.name for spec in (*candidate.inputs, *candidate.outputs) if spec.shape[:1] != (-1,)
    ]
    if fixed:
        raise BundleError(
            f"manifest.candidates: {candidate.variant} has max_batch {candidate.max_batch}, but "
            f"the first extent of {', '.join(fixed)} is not -1"
        )


def _read_model(value: Mapping[str, Any]) -> ModelInfo:
    read = FieldReader(value, "manifest.model")
    kind = read.text("kind")
    if kind not in ("recommender", "tensor"):
        raise BundleError(f"manifest.model.kind: got '{kind}', expected recommender or tensor")
    model = ModelInfo(
        name=read.text("name"),
        version=read.text("version"),
        kind=cast("ModelKind", kind),
        architecture=read.text("architecture"),
        sha256=read.sha256("sha256"),
        sequence_length=read.optional_integer("sequence_length"),
        top_k=read.optional_integer("top_k"),
        graph_top_k=read.optional_integer("graph_top_k"),
        catalogue_size=read.optional_integer("catalogue_size"),
        vocabulary_sha256=read.optional_text("vocabulary_sha256"),
    )
    needed = (model.sequence_length, model.top_k, model.graph_top_k, model.vocabulary_sha256)
    if kind == "recommender" and None in needed:
        raise BundleError(
            "manifest.model: a recommender needs sequence_length, top_k, graph_top_k and "
            "vocabulary_sha256"
        )
    return model


def _read_target(value: Mapping[str, Any]) -> TargetInfo:
    read = FieldReader(value, "manifest.target")
    return TargetInfo(
        name=read.text("name"),
        sha256=read.sha256("sha256"),
        arch=read.text("arch"),
        os=read.text("os"),
        glibc=read.text("glibc"),
        python=read.text("python"),
        memory_mb=read.integer("memory_mb"),
        cpu=read.text("cpu"),
        cpu_flags=read.texts("cpu_flags"),
        p99_budget_ms=read.optional_number("p99_budget_ms"),
    )


def _read_runtime(value: Mapping[str, Any]) -> RuntimeInfo:
    read = FieldReader(value, "manifest.runtime")
    return RuntimeInfo(
        name=_member(RuntimeName, read.text("name"), "manifest.runtime.name"),
        version=read.text("version"),
        providers=read.texts("providers"),
        external=read.items("external", _read_external),
    )


def _read_external(value: Mapping[str, Any], where: str) -> ExternalWheel:
    read = FieldReader(value, where)
    return ExternalWheel(
        read.text("name"), read.text("version"), read.text("filename"), read.sha256("sha256")
    )


def _read_candidate(value: Mapping[str, Any], where: str) -> Candidate:
    read = FieldReader(value, where)
    return Candidate(
        variant=read.text("variant"),
        format=_member(Format, read.text("format"), f"{where}.format"),
        precision=_member(Precision, read.text("precision"), f"{where}.precision"),
        file=read.text("file"),
        sha256=read.sha256("sha256"),
        size=read.integer("size"),
        inputs=read.items("inputs", _read_tensor_spec),
        outputs=read.items("outputs", _read_tensor_spec),
        golden=read.text("golden"),
        quality=read.mapping("quality", {}),
        preflight=read.mapping("preflight", {}),
        verification=read.mapping("verification", {}),
        max_batch=read.integer("max_batch", minimum=1) if "max_batch" in value else 1,
        options=_read_options(value.get("options"), f"{where}.options"),
    )


def _read_options(value: object, where: str) -> EngineOptions | None:
    if value is None:
        return None
    if problems := check_value(EngineOptions, value, where):
        raise BundleError(str(problems[0]))
    return cast("EngineOptions", from_plain(EngineOptions, value))


def _read_tensor_spec(value: Mapping[str, Any], where: str) -> TensorSpec:
    return TensorSpec.from_json(value, where=where)


def _read_file(value: Mapping[str, Any], where: str) -> FileRecord:
    read = FieldReader(value, where)
    return FileRecord(
        read.text("path"), read.sha256("sha256"), read.integer("size"), read.integer("mode")
    )


def _member(kind: Any, text: str, where: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(kind)
        raise BundleError(f"{where}: got '{text}', expected one of {known}") from None


def _plain(value: Any) -> Any:
    """Turns dataclasses and enums into what JSON knows."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, str) else value
