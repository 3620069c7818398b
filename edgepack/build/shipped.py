"""Finds the targets and model projects that come with edgepack, and the user's own.

Not aware of what is in them. May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import edgepack

ShippedKind = Literal["targets", "models"]


def shipped_dir(kind: ShippedKind) -> Path:
    """The folder of shipped definitions: inside an installed wheel, or in the checkout.

    Args:
        kind: Which definitions.

    Returns:
        The folder; in a broken installation one that is not there.
    """
    package = Path(edgepack.__file__).resolve().parent
    in_wheel = package / "_shipped" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def shipped_file(name: str) -> Path:
    """A file of the checkout's top level that travels in the wheel too.

    Args:
        name: Such as `Dockerfile.arm64`.

    Returns:
        Its path: inside an installed wheel, or in the checkout.
    """
    package = Path(edgepack.__file__).resolve().parent
    in_wheel = package / "_shipped" / name
    return in_wheel if in_wheel.is_file() else package.parent / name


def search_path(kind: ShippedKind, base: Path) -> tuple[Path, ...]:
    """Where definitions are looked for, in order: the user's own folder, then the shipped one.

    Args:
        kind: Which definitions.
        base: The folder the user works in; `base/models` or `base/targets` need not exist.
    """
    own, shipped = base / kind, shipped_dir(kind)
    if own.resolve() == shipped.resolve():
        return (shipped,)
    return (own, shipped)
