"""The road from a model to one verified bundle per target: who is asked what, in which order."""

from __future__ import annotations

from edgepack.build.pipeline.build import run_build

__all__ = ["run_build"]
