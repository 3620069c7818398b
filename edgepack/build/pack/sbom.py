"""The bundle's bill of materials: a CycloneDX document that is the same for the same content.

It is not aware of files or archives. Used by `bundle`.

Source: CycloneDX 1.6 JSON reference; Package-URL specification, type `pypi`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import __version__
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.manifest import Manifest

#: Identifiers of the SPDX list seen in the wheels of inference runtimes; a document may only
#: use listed ones, so any other text is given as a licence's name.
_SPDX = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
        "GPL-3.0-with-GCC-exception", "GPL-3.0-or-later", "ISC", "LGPL-2.1-or-later", "MIT",
        "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
_WORDS = re.compile(r"[^\s()]+")
_OPERATORS = frozenset({"AND", "OR", "WITH", "GCC-exception-3.1"})


@dataclass(frozen=True, slots=True)
class Component:
    """A wheel that is in the bundle.

    Attributes:
        name: The distribution's name.
        version: Its version.
        sha256: Hash of the wheel file.
        licence: What its metadata says: an SPDX expression or any text; None or `unknown`
            where it says nothing.
    """

    name: str
    version: str
    sha256: str
    licence: str | None = None


def build_sbom(manifest: Manifest, components: Sequence[Component]) -> bytes:
    """Writes the bill of materials of a bundle.

    Args:
        manifest: Finished.
        components: The wheels whose files are in the payload, trimmed or not.

    Returns:
        CycloneDX 1.6 as canonical JSON. It has no time of day, and its serial number comes
        from its content: the same bundle has the same document.
    """
    model = manifest.model
    bundle_ref = f"bundle:{model.name}@{model.version}:{manifest.target.name}"
    wheels = sorted(components, key=lambda each: (each.name.lower(), each.version))
    parts = [
        *(_model_component(manifest, number) for number in range(len(manifest.candidates))),
        _edgepack(),
        *(_wheel_component(each, external=False) for each in wheels),
        *(
            _wheel_component(Component(each.name, each.version, each.sha256), external=True)
            for each in sorted(manifest.runtime.external, key=lambda each: each.name.lower())
        ),
    ]
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": bundle_ref,
                "name": f"{model.name}-{manifest.target.name}",
                "version": model.version,
            },
            "tools": {
                "components": [{"type": "application", "name": "edgepack", "version": __version__}]
            },
        },
        "components": parts,
        "dependencies": [
            {"ref": bundle_ref, "dependsOn": sorted({part["bom-ref"] for part in parts})}
        ],
    }
    content = sha256_hex(canonical_json(body) + manifest.to_bytes())
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"edgepack:sbom:{content}")
    return canonical_json({**body, "serialNumber": f"urn:uuid:{serial}"})


def _model_component(manifest: Manifest, number: int) -> dict[str, Any]:
    model, candidate = manifest.model, manifest.candidates[number]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.name}@{model.version}:{candidate.variant}",
        "name": f"{model.name}/{candidate.variant}",
        "version": model.version,
        "description": f"{model.architecture}, {candidate.precision}",
        "hashes": [_hash(candidate.sha256)],
        "properties": [
            {"name": "edgepack:file", "value": candidate.file},
            {"name": "edgepack:trained-model-sha256", "value": model.sha256},
        ],
    }


def _edgepack() -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": f"pkg:pypi/edgepack@{__version__}",
        "name": "edgepack",
        "version": __version__,
        "purl": f"pkg:pypi/edgepack@{__version__}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _wheel_component(wheel: Component, *, external: bool) -> dict[str, Any]:
    purl = f"pkg:pypi/{_normal_name(wheel.name)}@{wheel.version}"
    part: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": wheel.name,
        "version": wheel.version,
        "purl": purl,
        # Of the wheel file, as the index has it.
        "hashes": [_hash(wheel.sha256)],
    }
    if wheel.licence and wheel.licence.strip().lower() not in ("", "unknown"):
        part["licenses"] = _licences(wheel.licence)
    if external:
        part["properties"] = [{"name": "edgepack:source", "value": "the box, or install --wheels"}]
    return part


def _licences(text: str) -> list[Mapping[str, Any]]:
    words = _WORDS.findall(text)
    if all(word in _SPDX or word in _OPERATORS for word in words):
        return [{"license": {"id": text}}] if len(words) == 1 else [{"expression": text}]
    # Some wheels put the whole licence text there; its first line names it.
    name = text.strip().splitlines()[0].strip()
    return [{"license": {"name": name}}]


def _normal_name(name: str) -> str:
    # Source: PEP 503, "Normalized Names".
    return re.sub(r"[-_.]+", "-", name).lower()


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}
