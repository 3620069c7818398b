"""The shop's item ids and the indices the model knows them by.

The vocabulary is part of the model: it is hashed, shipped, and a mismatch is refused. It is not
aware of files. Anyone may import it; standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgepack.formats.canonical import canonical_json, parse_json, sha256_hex
from edgepack.formats.errors import BundleError
from edgepack.formats.fields import FieldReader

#: The index of "no item": sequences are padded with it on the left.
PADDING = 0
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """External item id ↔ index; `items[i]` has index `i + 1`, index 0 is padding."""

    items: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {item: i for i, item in enumerate(self.items, start=1)}
        if len(index) != len(self.items):
            raise BundleError(
                f"vocabulary: {len(self.items)} item ids, {len(index)} of them distinct"
            )
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        return len(self.items)

    def index_of(self, item: str) -> int | None:
        """Returns an item's index (1 … len), or None for an unknown item."""
        return self._index.get(item)

    def knows_any(self, items: Iterable[str]) -> bool:
        """Whether at least one of some item ids is in the vocabulary."""
        return not self._index.keys().isdisjoint(items)

    def item_at(self, index: int) -> str:
        """Returns the item id at an index.

        Raises:
            IndexError: The index is padding or beyond the vocabulary.
        """
        if index < 1:
            raise IndexError(f"index {index} is not an item's")
        return self.items[index - 1]

    def encode(self, history: Sequence[str], length: int) -> tuple[list[int], int]:
        """Turns a history of item ids into the model's input.

        Args:
            history: Item ids, most recent last; unknown ones are skipped.
            length: The model's sequence length.

        Returns:
            The last `length` known items' indices, padded on the left with 0, and how many
            items of the history were unknown.
        """
        known = [i for item in history if (i := self._index.get(item)) is not None]
        kept = known[-length:]
        return [PADDING] * (length - len(kept)) + kept, len(history) - len(known)

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of `vocabulary.json`."""
        return canonical_json({"format": _FORMAT, "items": list(self.items)})

    @property
    def sha256(self) -> str:
        """The SHA-256 of `to_bytes()`."""
        return sha256_hex(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Vocabulary:
        """Parses `vocabulary.json`.

        Raises:
            BundleError: Not a vocabulary, a newer format, or an item twice.
        """
        read = FieldReader(parse_json(data, what="vocabulary.json"), "vocabulary")
        found = read.integer("format", minimum=1)
        if found > _FORMAT:
            raise BundleError(
                f"vocabulary.json has format {found}; this edgepack reads up to {_FORMAT}",
                hint="install a newer edgepack",
            )
        return cls(read.texts("items"))
