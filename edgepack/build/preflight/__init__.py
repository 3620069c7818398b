"""The verdict before anything runs: can this file load on that box?

It is not aware of emulators. Used by the pipeline.
"""

from __future__ import annotations

from edgepack.build.preflight.check import check_bundle_size, preflight, preflight_record

__all__ = ["check_bundle_size", "preflight", "preflight_record"]
