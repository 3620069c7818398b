"""Model files of any catalogue size, through the build's own conversions, with random weights.

Run as a program it writes one folder of files and ends, so that TensorFlow's memory is gone
before anything is measured:

    python -m benchmarks.catalogue.files OUT --model gru4rec --items 1000000 \
        --variant tflite-dynamic-int8-per-tensor
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from edgepack.build.convert.job import Job, JobKind, Outcome
from edgepack.build.convert.recipes import ladder
from edgepack.formats.variants import Format, VariantSpec, parse_variant_name

SEQUENCE_LENGTH = 20
#: As `edgepack build` has it: top_k and as many again as a history may hold.
GRAPH_TOP_K = 40
_SEED = 2026
_HISTORIES = 64


def make_files(
    folder: Path, model: str, items: int, item_codes: int, variants: list[VariantSpec]
) -> None:
    """Writes the variants, with `samples.npz` beside them.

    Args:
        folder: Where to; made where missing.
        model: `sasrec` or `gru4rec`, 64 wide.
        items: Items of the catalogue.
        item_codes: Codes an item; 0 for a vector each.
        variants: Which files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keras_file, samples = folder / "model.keras", folder / "samples.npz"
    order = np.random.default_rng(_SEED)
    rows = order.integers(1, items + 1, (_HISTORIES, SEQUENCE_LENGTH), dtype=np.int32)
    np.savez(samples, calibration=rows, histories=rows)
    _save_model(keras_file, model, items, item_codes, order)
    for spec in variants:
        begun = time.perf_counter()
        _convert(folder, keras_file, samples, spec)
        print(f"{spec.name}: {time.perf_counter() - begun:.0f} s", flush=True)


def _save_model(
    path: Path, model: str, items: int, item_codes: int, order: np.random.Generator
) -> None:
    import keras
    import tensorflow as tf

    from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture, build_ranker

    # What the conversions ask for too, and may only be said before anything has run.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(_SEED)
    architecture = Architecture(model)
    settings = {**HYPER_PARAMETERS[architecture], "item_codes": item_codes}
    ranker = build_ranker(architecture, settings, catalogue=items, sequence_length=SEQUENCE_LENGTH)
    if item_codes and ranker.table is not None:
        shape = tuple(ranker.table.item_codes.shape)
        ranker.table.item_codes.assign(order.integers(0, 256, shape, dtype=np.uint8))
    ranker.finish().save(path)


def _convert(folder: Path, keras_file: Path, samples: Path, spec: VariantSpec) -> None:
    from edgepack.build.convert.graph import write_graphs
    from edgepack.build.convert.onnx_export import write_onnx_base
    from edgepack.build.convert.onnx_variant import write_onnx
    from edgepack.build.convert.tflite import write_tflite

    if spec.format is Format.TFLITE:
        graph = folder / "graph"
        graph.mkdir(exist_ok=True)
        outcome = Outcome.read(graph)
        if outcome is None:
            outcome = write_graphs(Job(JobKind.GRAPH, keras_file, graph, samples, GRAPH_TOP_K))
            outcome.write(graph)
        weights = (outcome.repeated_weights, outcome.rest_weights)
        form = ladder(spec, outcome.recurrent_steps, *weights)[0]
        write_tflite(
            Job(JobKind.TFLITE, graph / form, folder, samples, GRAPH_TOP_K, form=form, spec=spec)
        )
        return
    base = folder / "base.onnx"
    form = ladder(spec, 0)[0]
    if not base.exists():
        write_onnx_base(Job(JobKind.ONNX_BASE, keras_file, folder, samples, GRAPH_TOP_K, form=form))
    write_onnx(Job(JobKind.ONNX, base, folder, samples, GRAPH_TOP_K, form=form, spec=spec))


def main(argv: list[str]) -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=("sasrec", "gru4rec"), default="gru4rec")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--item-codes", type=int, default=0)
    parser.add_argument("--variant", action="append", required=True)
    options = parser.parse_args(argv)
    variants = [parse_variant_name(each) for each in options.variant]
    make_files(options.out, options.model, options.items, options.item_codes, variants)


if __name__ == "__main__":
    main(sys.argv[1:])
