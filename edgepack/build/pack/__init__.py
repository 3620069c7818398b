"""Packs a release into one file: payload, manifest, SBOM and the program that installs them."""

from __future__ import annotations

from edgepack.build.pack.bundle import PackedBundle, bundle_filename, pack_bundle
from edgepack.build.pack.payload import Source, finish_manifest
from edgepack.build.pack.sbom import Component
from edgepack.build.pack.sources import program_files, runner_files, tuning_files
from edgepack.build.pack.units import service_units

__all__ = [
    "Component",
    "PackedBundle",
    "Source",
    "bundle_filename",
    "finish_manifest",
    "pack_bundle",
    "program_files",
    "runner_files",
    "service_units",
    "tuning_files",
]
