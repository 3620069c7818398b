"""Turns a model into its variants, each in a process of its own.

Importing it imports neither TensorFlow nor ONNX: those live in the worker's modules. Used by
the pipeline and by `edgepack.build.quality`.
"""

from __future__ import annotations

from edgepack.build.convert.process import Limits
from edgepack.build.convert.variants import convert_variants, reference_outputs

__all__ = ["Limits", "convert_variants", "reference_outputs"]
