"""Inference engines behind one small Protocol, one file for each runtime.

Only the file of a runtime imports it and translates its exceptions. Used by the runner alone.
"""

from __future__ import annotations

from edgepack.formats.options import EngineOptions
from edgepack.runner.engines.contract import Engine, check_inputs
from edgepack.runner.engines.opening import open_engine

__all__ = ["Engine", "EngineOptions", "check_inputs", "open_engine"]
