"""What a variant keeps of the original: metrics, the gate, and golden answers."""

from __future__ import annotations

from edgepack.build.quality.gate import check_gate
from edgepack.build.quality.golden import make_golden
from edgepack.build.quality.measure import measure_quality

__all__ = ["check_gate", "make_golden", "measure_quality"]
