"""`edgepack convert`: a model's variants, measured, without a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepack.cli.console import (
    format_bytes,
    format_share,
    make_console,
    make_table,
    print_json,
)
from edgepack.cli.options import (
    cache_option,
    data_options,
    data_source,
    jobs_option,
    json_option,
    model_folders,
    model_options,
    open_cache,
    recipe_option,
)
from edgepack.cli.progress import shown_progress
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import ALL_VARIANTS, parse_variant_name


@click.command()
@model_options
@click.option("--variant", "variants", multiple=True, metavar="V", help="Only these variants.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    metavar="DIR",
    help="Where the model files are written.",
)
@recipe_option
@data_options
@jobs_option
@cache_option
@json_option
def convert(
    model: str,
    samples: Path | None,
    recipe: str | None,
    variants: tuple[str, ...],
    out: Path,
    jobs: int,
    cache_dir: Path | None,
    as_json: bool,
    **data: Any,
) -> None:
    """Convert a model to its variants.

    Writes each variant's file and shows what it does to the ranking. A converter that crashes
    is a row with its reason. Exits with 5 when no variant could be made.

    \b
    Example:
      edgepack convert --model session --variant tflite-dynamic-int8
    """
    from edgepack.build.pipeline.request import ModelRequest, check_out
    from edgepack.build.pipeline.variants import convert_and_measure
    from edgepack.build.whole_file import place_whole

    specs = tuple(parse_variant_name(name) for name in variants) or ALL_VARIANTS
    request = ModelRequest(
        model, data_source(**data), samples, search=model_folders(), recipe=recipe
    )
    cache = open_cache(cache_dir)
    check_out(out)
    with shown_progress() as progress:
        trained, found = convert_and_measure(request, specs, cache, jobs, progress)
    rows = []
    table = make_table(
        f"Variants of {trained.name} {trained.version}",
        "variant", "bytes", "NDCG@10", "overlap", "top-1", "file or reason",
        right=("bytes", "NDCG@10", "overlap", "top-1"),
    )  # fmt: skip
    for measured in found:
        variant, quality = measured.variant, measured.quality
        path = None
        if variant.path is not None:
            path = out / f"{trained.name}-{trained.version}-{variant.spec.file_name}"
            place_whole(variant.path, path)
        rows.append(
            {
                "name": variant.spec.name,
                "path": str(path) if path else None,
                "bytes": variant.size_bytes,
                "sha256": variant.sha256,
                "quality": quality.to_json() if quality else None,
                "reason": variant.failure or measured.failure,
                "notes": variant.notes,
            }
        )
        table.add_row(
            variant.spec.name,
            format_bytes(variant.size_bytes) if path else "-",
            *(
                format_share(getattr(quality, name, None))
                for name in ("ndcg", "overlap", "top1_same")
            ),
            str(path or variant.failure),
        )
    if as_json:
        print_json({"model": trained.name, "version": trained.version, "variants": rows})
    else:
        make_console().print(table)
    if not any(row["path"] for row in rows):
        raise ConversionError(
            f"no variant of {trained.name} could be made",
            hint="the table says why for each; try --variant with another one",
        )
