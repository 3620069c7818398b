"""Converts a model and measures each variant: the half of a build that knows no target.

Used by `build`, and by `edgepack convert` as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgepack.build.artifacts import ConvertedVariant, Progress, Quality, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.pipeline.model import obtain_model
from edgepack.build.pipeline.request import ModelRequest
from edgepack.build.quality import make_golden, measure_quality
from edgepack.formats.errors import DeviceError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.variants import VariantSpec


@dataclass(frozen=True, slots=True)
class MeasuredVariant:
    """A converted variant with what it keeps of the original.

    Attributes:
        variant: The file, or why there is none.
        quality: Its metrics; None when it was not converted or could not be run.
        golden: Its golden answers; None likewise.
        failure: Why it could not be run on this host; None when it could.
    """

    variant: ConvertedVariant
    quality: Quality | None = None
    golden: GoldenSet | None = None
    failure: str | None = None


def convert_and_measure(
    request: ModelRequest,
    specs: Sequence[VariantSpec],
    cache: Cache,
    jobs: int,
    progress: Progress,
    batched: Sequence[VariantSpec] = (),
) -> tuple[TrainedModel, list[MeasuredVariant]]:
    """Obtains a model, converts it and measures every variant.

    Args:
        request: Which model, from what.
        specs: Which variants.
        cache: Keeps all of it.
        jobs: Processes at a time.
        progress: Told of each step.
        batched: Variants that are to take several rows in one call.

    Returns:
        The model, and a measured variant for each spec in its order, then for each of `batched`.
    """
    model = obtain_model(request, cache, progress)
    converted = convert_variants(model, specs, cache, jobs=jobs, progress=progress, batched=batched)
    return model, measure_all(model, converted, cache, jobs, progress)


def measure_all(
    model: TrainedModel,
    converted: Sequence[ConvertedVariant],
    cache: Cache,
    jobs: int,
    progress: Progress,
) -> list[MeasuredVariant]:
    """Measures converted variants; one that cannot be run says so and stops nothing."""
    task = "Measuring what each variant keeps of fp32"
    progress.start(task, len(converted))

    def measure(variant: ConvertedVariant) -> MeasuredVariant:
        found = _measure(model, variant, cache)
        progress.advance(task)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        measured = list(pool.map(measure, converted))
    progress.finish(task)
    return measured


def _measure(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> MeasuredVariant:
    if variant.path is None:
        return MeasuredVariant(variant)
    try:
        return MeasuredVariant(
            variant, measure_quality(model, variant, cache), make_golden(model, variant, cache)
        )
    except DeviceError as error:
        return MeasuredVariant(variant, failure=error.message)
