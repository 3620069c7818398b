"""What a model's inputs and outputs look like. Not aware of any runtime's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepack.formats.fields import FieldReader


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The tensor's name in the model file.
        dtype: numpy's name of the element type, such as `int32` or `float32`.
        shape: The extents, batch first; -1 where any extent is taken.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: name, dtype, shape."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str) -> TensorSpec:
        """Reads the JSON form.

        Args:
            value: An object with name, dtype and shape.
            where: The object's place in its file, for errors.

        Raises:
            BundleError: A field is missing or of the wrong type.
        """
        read = FieldReader(value, where)
        return cls(read.text("name"), read.text("dtype"), tuple(read.integers("shape")))
