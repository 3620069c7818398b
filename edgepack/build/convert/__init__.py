"""Turns a model into its variants, each in a process of its own.

Importing it imports neither TensorFlow nor ONNX: those live in the worker's modules. Used by
the pipeline, `edgepack.build.quality` and `edgepack.build.explain`.
"""

from __future__ import annotations

from edgepack.build.convert.process import Limits
from edgepack.build.convert.variants import convert_variants, float_twin, reference_outputs

__all__ = ["Limits", "convert_variants", "float_twin", "reference_outputs"]
