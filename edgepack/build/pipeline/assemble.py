"""Puts a release together: the manifest's draft and every file of the payload.

The release that is tried on the target and the one that ships are made here alike. It is not
aware of archives, of emulators or of how anything was measured. Used by the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import __version__
from edgepack.build.artifacts import TrainedModel
from edgepack.build.choose import VariantRow
from edgepack.build.pack import Component, Source, runner_files, service_units
from edgepack.build.targets import Runtime, Site, Target
from edgepack.formats.golden import GoldenSet
from edgepack.formats.manifest import (
    Candidate,
    ExternalWheel,
    Manifest,
    ModelInfo,
    RuntimeInfo,
)
from edgepack.formats.options import EngineOptions


@dataclass(frozen=True, slots=True)
class Release:
    """A release before it is packed.

    Attributes:
        manifest: Without its file records.
        files: Content by path in the release.
        components: The wheels in it, for the bill of materials.
    """

    manifest: Manifest
    files: Mapping[str, Source]
    components: tuple[Component, ...]


def assemble(
    model: TrainedModel,
    target: Target,
    runtime: Runtime,
    site: Site,
    rows: Sequence[VariantRow],
    golden: Mapping[str, GoldenSet],
    reason: str,
    options: Mapping[str, EngineOptions] | None = None,
) -> Release:
    """Makes the release of some variants of a model for a target.

    Args:
        model: The model.
        target: The kind of box.
        runtime: Its runtime.
        site: The runtime's unpacked wheels.
        rows: The variants, the chosen one first.
        golden: Golden answers by variant name.
        reason: Why that one, in words.
        options: How each is best opened, by variant name, where that is known.

    Returns:
        The manifest's draft and the files.
    """
    manifest = Manifest(
        model=_model_info(model),
        target=target.info(_lock_bytes(target)),
        runtime=_runtime_info(runtime, site),
        candidates=tuple(_candidate(row, target.max_batch, options or {}) for row in rows),
        reason=reason,
        popular=tuple(model.facts.get("popular", ())),
        reference=model.facts.get("reference", {}),
        provenance=_provenance(model, site),
    )
    units = service_units(manifest.runtime, manifest.target)
    files: dict[str, Source] = {**runner_files(manifest.runtime.name), **units}
    for row in rows:
        if row.variant.path is None:
            raise AssertionError(f"{row.variant.spec.name} has no file and cannot be packed")
        files[_model_path(row)] = row.variant.path
        files[_golden_path(row)] = golden[row.variant.spec.name].to_bytes()
    if model.vocabulary is not None:
        files["vocabulary.json"] = model.vocabulary.to_bytes()
    for path in sorted(site.path.rglob("*")):
        if path.is_file():
            files[f"site/{path.relative_to(site.path).as_posix()}"] = path
    components = tuple(
        Component(wheel.name, wheel.version, wheel.sha256, wheel.licence)
        for wheel in site.wheels
        if not wheel.external
    )
    return Release(manifest, files, components)


def _model_path(row: VariantRow) -> str:
    return f"models/{row.variant.spec.file_name}"


def _golden_path(row: VariantRow) -> str:
    return f"golden/{row.variant.spec.name}.json"


def _model_info(model: TrainedModel) -> ModelInfo:
    vocabulary = model.vocabulary
    return ModelInfo(
        name=model.name,
        version=model.version,
        kind=model.kind,
        architecture=model.architecture,
        sha256=model.sha256,
        sequence_length=model.sequence_length,
        top_k=model.top_k,
        graph_top_k=model.graph_top_k,
        catalogue_size=len(vocabulary) if vocabulary else None,
        vocabulary_sha256=vocabulary.sha256 if vocabulary else None,
    )


def _runtime_info(runtime: Runtime, site: Site) -> RuntimeInfo:
    return RuntimeInfo(
        name=runtime.name,
        version=runtime.version,
        providers=runtime.providers,
        external=tuple(
            ExternalWheel(wheel.name, wheel.version, wheel.filename, wheel.sha256)
            for wheel in site.external
        ),
    )


def _candidate(row: VariantRow, max_batch: int, options: Mapping[str, EngineOptions]) -> Candidate:
    variant = row.variant
    return Candidate(
        variant=variant.spec.name,
        format=variant.spec.format,
        precision=variant.spec.precision,
        file=_model_path(row),
        sha256=variant.sha256,
        size=variant.size_bytes,
        inputs=variant.inputs,
        outputs=variant.outputs,
        golden=_golden_path(row),
        quality=row.quality.to_json() if row.quality else {},
        preflight=row.preflight or {},
        verification=row.verification or {},
        max_batch=max_batch if variant.needs.rows and variant.takes_rows else 1,
        options=options.get(variant.spec.name),
    )


def _provenance(model: TrainedModel, site: Site) -> dict[str, Any]:
    """What made the bundle; nothing of when or where, so that equal inputs give equal bytes."""
    return {
        "edgepack": __version__,
        "model_sha256": model.sha256,
        "samples_sha256": model.samples_sha256,
        "training": {
            name: model.facts[name] for name in ("project", "data", "tools") if name in model.facts
        },
        "wheels": {wheel.name: wheel.version for wheel in site.wheels},
    }


def _lock_bytes(target: Target) -> bytes:
    return target.lock_path.read_bytes() if target.lock_path.is_file() else b""
