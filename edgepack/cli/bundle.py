"""`edgepack inspect` and `edgepack verify`: what a bundle says, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import (
    format_bytes,
    format_share,
    make_console,
    make_table,
    print_json,
)
from edgepack.cli.options import json_option

if TYPE_CHECKING:
    from edgepack.formats.manifest import Manifest

_FILE = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")


@click.command()
@_FILE
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what is in a bundle.

    Reads the manifest and the bill of materials without unpacking or trusting the payload.

    \b
    Example:
      edgepack inspect dist/session-1.0.0-arm64.pyz
    """
    from edgepack.runner.boot.archive import open_bundle

    bundle = open_bundle(file)
    if as_json:
        print_json(
            {
                "path": str(file),
                "bytes": file.stat().st_size,
                "release": bundle.release_id,
                "manifest": bundle.manifest.to_json(),
                "sbom": bundle.sbom,
            }
        )
        return
    _show(file, bundle.manifest, bundle.release_id, bundle.sbom)


@click.command()
@_FILE
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Check every byte of a bundle.

    The seal, the archive's shape, the manifest, and every file's path, size, mode and hash.

    \b
    Example:
      edgepack verify dist/session-1.0.0-arm64.pyz
    """
    from edgepack.runner.boot.archive import open_bundle

    bundle = open_bundle(file).verify()
    found = {
        "path": str(file),
        "bytes": bundle.size_bytes,
        "sha256": bundle.sha256,
        "release": bundle.release_id,
        "files": len(bundle.manifest.files),
        "ok": True,
    }
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{file}: whole. {found['files']} files, {format_bytes(bundle.size_bytes)}, "
            f"sha256 {bundle.sha256}"
        )


def _show(file: Path, manifest: Manifest, release_id: str, sbom: Any) -> None:
    console = make_console()
    model, target, runtime = manifest.model, manifest.target, manifest.runtime
    facts = make_table(file.name, "", "")
    facts.show_header = False
    unpacked = sum(record.size for record in manifest.files)
    rows = {
        "model": f"{model.name} {model.version} ({model.architecture}, {model.kind})",
        "catalogue": f"{model.catalogue_size} items" if model.catalogue_size else "-",
        "target": f"{target.name}: {target.arch}, {target.cpu}, glibc {target.glibc}, "
        f"Python {target.python}",
        "runtime": f"{runtime.name} {runtime.version}",
        "size": f"{format_bytes(file.stat().st_size)} ({format_bytes(unpacked)} unpacked, "
        f"{len(manifest.files)} files)",
        "release": release_id,
        "chosen": f"{manifest.candidates[0].variant}: {manifest.reason}",
        "parts": ", ".join(
            f"{each['name']} {each['version']}"
            for each in sbom.get("components", [])
            if each.get("type") == "library"
        ),
    }
    if runtime.external:
        rows["not in it"] = ", ".join(f"{each.name} {each.version}" for each in runtime.external)
    for name, value in rows.items():
        facts.add_row(name, value)
    console.print(facts)
    console.print(_candidates(manifest))


def _candidates(manifest: Manifest) -> Any:
    table = make_table(
        "Candidates", "variant", "bytes", "NDCG@10", "overlap", "top-1", "on the target",
        right=("bytes", "NDCG@10", "overlap", "top-1"),
    )  # fmt: skip
    for each in manifest.candidates:
        table.add_row(
            each.variant,
            format_bytes(each.size),
            format_share(each.quality.get("ndcg")),
            format_share(each.quality.get("overlap")),
            format_share(each.quality.get("top1_same")),
            str(each.verification.get("reason") or each.verification.get("status", "-")),
        )
    return table
