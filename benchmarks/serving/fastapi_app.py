"""What people write today: FastAPI, uvicorn and ONNX Runtime, near its documentation's defaults.

Started by `compare` as a process of its own. The model and the vocabulary come from a release.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Ask(BaseModel):
    """The request: item ids, most recent last."""

    history: list[str]
    k: int = 10


class Item(BaseModel):
    """One recommended item."""

    id: str
    score: float


class Answer(BaseModel):
    """The answer: items, best first."""

    items: list[Item]


def make_app(release: Path) -> FastAPI:
    """Makes the app of a release whose runtime is ONNX Runtime."""
    manifest = json.loads((release / "manifest.json").read_text())
    items = json.loads((release / "vocabulary.json").read_text())["items"]
    index = {item: i for i, item in enumerate(items, start=1)}
    length = manifest["model"]["sequence_length"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = release / manifest["candidates"][0]["file"]
    session = onnxruntime.InferenceSession(str(model), options)
    name = session.get_inputs()[0].name
    app = FastAPI()

    @app.post("/recommend")
    async def recommend(ask: Ask) -> Answer:
        known = [index[item] for item in ask.history if item in index][-length:]
        array = np.array([[0] * (length - len(known)) + known], dtype=np.int32)
        first, second = session.run(None, {name: array})
        found, scores = (first, second) if first.dtype.kind == "i" else (second, first)
        ranked = zip(found[0, : ask.k].tolist(), scores[0, : ask.k].tolist(), strict=True)
        return Answer(items=[Item(id=items[at - 1], score=score) for at, score in ranked])

    return app


def main() -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(make_app(options.release), host="127.0.0.1", port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
