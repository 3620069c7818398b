"""Looks into a variant: what each tensor and layer loses, and where the time goes.

Importing it imports neither TensorFlow, LiteRT nor ONNX: those live in the worker's modules.
Used by the command line.
"""

from __future__ import annotations

from edgepack.build.explain.asking import Settings, explain
from edgepack.build.explain.explanation import Explanation

__all__ = ["Explanation", "Settings", "explain"]
