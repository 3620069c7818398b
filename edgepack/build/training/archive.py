"""Writes zip files whose bytes depend on their content only.

Not aware of what is in them. May be imported by `edgepack.build`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The oldest date a zip can hold.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes a zip, members in the order given, uncompressed, all dated 1980-01-01.

    Args:
        path: Where to.
        members: Content by name.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes what `numpy.load` reads as an npz.

    Args:
        path: Where to.
        arrays: Arrays by name.
    """
    members = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    write_archive(path, members)


def rewrite_keras_archive(path: Path) -> None:
    """Takes the date and the memory addresses out of a `.keras` file, in place.

    Keras dates the file and its members, and numbers shared objects by their address in memory;
    neither says anything about the model. Loading gives the same model before and after.

    Args:
        path: A file that `keras.Model.save` wrote.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    config = json.loads(members["config.json"])
    _renumber_shared_objects(config, {})
    members["config.json"] = json.dumps(config).encode()
    write_archive(path, members)


def _renumber_shared_objects(value: Any, numbers: dict[int, int]) -> None:
    """Replaces each `shared_object_id` by its place of first appearance, from 1."""
    if isinstance(value, dict):
        address = value.get("shared_object_id")
        if isinstance(address, int):
            value["shared_object_id"] = numbers.setdefault(address, len(numbers) + 1)
        for each in value.values():
            _renumber_shared_objects(each, numbers)
    elif isinstance(value, list):
        for each in value:
            _renumber_shared_objects(each, numbers)
