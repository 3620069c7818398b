"""What people run on a card today: FastAPI and uvicorn over onnxruntime-gpu or PyTorch.

Started by `compare` as a process of its own. `--style async` calls the model in the event loop,
`--style threads` in FastAPI's pool of threads; both are common, and the better one counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from benchmarks.serving.fastapi_app import Answer, Ask, Item

#: Turns a history of indices, padded to its length, into item indices and scores, best first.
Model = Callable[[list[int]], tuple[Sequence[int], Sequence[float]]]


def open_onnx(path: Path, length: int) -> Model:
    """Opens an ONNX file on the card, as ONNX Runtime's documentation does."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    known = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(
        str(path), providers=[each for each in providers if each in known]
    )
    if providers[0] in known and session.get_providers()[0] != providers[0]:
        raise SystemExit("error: ONNX Runtime fell back to the CPU")
    name = session.get_inputs()[0].name

    def run(history: list[int]) -> tuple[Sequence[int], Sequence[float]]:
        padded = [0] * (length - len(history)) + history
        first, second = session.run(None, {name: np.array([padded], dtype=np.int32)})
        items, scores = (first, second) if first.dtype.kind == "i" else (second, first)
        return items[0].tolist(), scores[0].tolist()

    return run


def open_torch(items: int, length: int, k: int, *, half: bool) -> Model:
    """Makes the same architecture with random weights in eager PyTorch."""
    import torch

    from benchmarks.gpu.torch_sasrec import open_model

    model = open_model(items, length, half=half)
    device = next(model.parameters()).device

    def run(history: list[int]) -> tuple[Sequence[int], Sequence[float]]:
        padded = [0] * (length - len(history)) + history
        with torch.inference_mode():
            scores, found = model(torch.tensor([padded], device=device), k)
        return found[0].tolist(), scores[0].tolist()

    return run


def make_app(model: Model, vocabulary: Sequence[str], length: int, style: str) -> FastAPI:
    """Makes the app over a model."""
    index = {item: i for i, item in enumerate(vocabulary, start=1)}
    app = FastAPI()

    def answer(ask: Ask) -> Answer:
        found, scores = model([index[item] for item in ask.history if item in index][-length:])
        ranked = zip(found[: ask.k], scores[: ask.k], strict=True)
        return Answer(items=[Item(id=vocabulary[at - 1], score=score) for at, score in ranked])

    if style == "threads":
        app.post("/recommend")(answer)
    else:

        @app.post("/recommend")
        async def recommend(ask: Ask) -> Answer:
            return answer(ask)

    return app


def main() -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("--engine", choices=["onnxruntime", "torch"], required=True)
    parser.add_argument("--style", choices=["async", "threads"], required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    manifest = json.loads((options.release / "manifest.json").read_text())
    facts: dict[str, Any] = manifest["model"]
    vocabulary = json.loads((options.release / "vocabulary.json").read_text())["items"]
    length = facts["sequence_length"]
    if options.engine == "torch":
        half = options.variant.endswith("fp16")
        model = open_torch(len(vocabulary), length, facts["graph_top_k"], half=half)
    else:
        (file,) = (c["file"] for c in manifest["candidates"] if c["variant"] == options.variant)
        model = open_onnx(options.release / file, length)
    app = make_app(model, vocabulary, length, options.style)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
