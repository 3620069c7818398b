"""Runs a model file over many rows: `python -m edgepack.runner.predict`.

The build side starts it as a process of its own to learn what a variant answers, so that a
runtime's crash is a result there and not the end. Rows are run one at a time at batch 1, as the
box does. It is not aware of rankings or releases.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgepack.formats.errors import ConfigError, EdgepackError
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import Engine, EngineOptions, open_engine
from edgepack.runner.engines.contract import Array


def match_inputs(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> list[Array]:
    """Puts named arrays into the model's order.

    Args:
        specs: The model's inputs in file order.
        arrays: One array `[rows, ...]` for each input, named as the input, or `arg0`, `arg1` …
            in file order.

    Returns:
        The arrays in file order, all with the same number of rows.

    Raises:
        ConfigError: A name is missing or left over, or the rows differ.
    """
    by_position = [f"arg{i}" for i in range(len(specs))]
    names = [spec.name for spec in specs]
    for wanted in (names, by_position):
        if set(wanted) == set(arrays):
            ordered = [arrays[name] for name in wanted]
            rows = {array.shape[0] if array.ndim else -1 for array in ordered}
            if len(rows) != 1 or rows & {-1, 0}:
                raise ConfigError("the input arrays must all have the same rows, at least one")
            return ordered
    raise ConfigError(
        f"the inputs file has {', '.join(sorted(arrays)) or 'no arrays'}; the model takes "
        f"{', '.join(names)}",
        hint=f"name the arrays so, or {', '.join(by_position)}",
    )


def predict_rows(engine: Engine, inputs: Sequence[Array]) -> dict[str, Array]:
    """Runs every row at batch 1.

    Args:
        engine: The loaded model.
        inputs: One array `[rows, ...]` for each input in file order.

    Returns:
        `out0`, `out1` … in file order, each `[rows, ...]` without the batch of 1.

    Raises:
        DeviceError: A row does not fit the model, or the runtime failed.
    """
    rows = inputs[0].shape[0]
    collected: list[list[Array]] = [[] for _ in engine.outputs]
    for row in range(rows):
        answers = engine.run([array[row : row + 1] for array in inputs])
        for column, answer in zip(collected, answers, strict=True):
            column.append(answer[0] if answer.ndim and answer.shape[0] == 1 else answer)
    return {f"out{i}": np.stack(column) for i, column in enumerate(collected)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0, the error class's, or 130 on Ctrl-C.
    """
    options = _parser().parse_args(argv)
    try:
        _run(options)
    except EdgepackError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgepack.runner.predict",
        description="Run a model file over the rows of an .npz file, one row at a time.",
        epilog="example: python -m edgepack.runner.predict --runtime litert "
        "--model session.tflite --inputs in.npz --outputs out.npz",
    )
    parser.add_argument(
        "--runtime", required=True, type=RuntimeName, choices=list(RuntimeName), metavar="RUNTIME"
    )
    parser.add_argument("--model", required=True, type=Path, help="a .tflite or .onnx file")
    parser.add_argument(
        "--inputs", required=True, type=Path, help="one array [rows, ...] for each model input"
    )
    parser.add_argument("--outputs", required=True, type=Path, help="where the answers go")
    parser.add_argument("--threads", type=int, default=1, help="threads inside one call")
    return parser


def _run(options: argparse.Namespace) -> None:
    try:
        with np.load(options.inputs, allow_pickle=False) as archive:
            arrays: dict[str, Array] = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{options.inputs}: not a readable .npz file: {error}") from error
    engine = open_engine(options.runtime, options.model, EngineOptions(threads=options.threads))
    outputs = predict_rows(engine, match_inputs(engine.inputs, arrays))
    try:
        np.savez(options.outputs, allow_pickle=False, **outputs)
    except OSError as error:
        raise ConfigError(f"{options.outputs}: cannot be written: {error}") from error
    engine.close()


if __name__ == "__main__":
    sys.exit(main())
