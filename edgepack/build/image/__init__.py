"""Container images made from bundles: built by docker, podman or buildah, finished here.

It is not aware of how a bundle was made. Used by the command line.
"""

from __future__ import annotations

from edgepack.build.image.make import Around, ImageRequest, ImageResult, make_image

__all__ = ["Around", "ImageRequest", "ImageResult", "make_image"]
