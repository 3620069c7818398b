"""edgepack: from a trained model to one verified file per kind of edge box."""

from __future__ import annotations

__version__ = "0.1.0"
