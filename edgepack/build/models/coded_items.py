"""An item table in a few bytes an item: each item is a short code, its vector a sum of parts.

There are `codes` lists of 256 parts; an item takes one part of each list, and its vector is their
sum. So a million items take eight megabytes with eight codes, where 64 8-bit numbers each take
sixty-four. Scores come from the parts: each part is scored once, and an item's score is the sum
of its parts' scores, looked up; no item's vector is ever put together for it. An item's
popularity is in its parts too: each has a number that is added to its score.

RecJPQ's parts are pieces of the vector laid end to end; here they are as wide as the vector and
added, which at the same bytes an item keeps far more of a trained table's ranking, and the parts
of a large catalogue weigh next to nothing either way.

Source: RecJPQ, Petrov and Macdonald 2024, arXiv:2312.06165; additive codes, Babenko and
Lempitsky 2014, "Additive quantization for extreme vector compression".

Not aware of whole models, nor of where codes come from (`edgepack.build.training.item_codes`).
May be imported by `edgepack.build`.
"""

from __future__ import annotations

from typing import Any, Final

import keras

#: Parts that one code chooses from: what eight bits can say.
PARTS: Final = 256
#: From here on, two codes are looked up at once in a table of all 65,536 pairs, which halves
#: the lookups and costs as much as some hundred thousand of them to make.
PAIRED_FROM_ITEMS: Final = 200_000
#: What training scores padding with, which no code can keep low by itself.
_PADDING_SCORE: Final = -30.0


@keras.saving.register_keras_serializable(package="edgepack")
class CodedItems(keras.layers.Layer):  # type: ignore[misc]
    """Vectors of items and scores against all of them, from codes.

    Args:
        rows: Items with padding, catalogue + 1.
        units: Width of an item's vector, d.
        codes: Parts of a vector, m.
    """

    def __init__(self, rows: int, units: int, codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.units, self.codes = rows, units, codes
        # Not made in `build`: training asks for scores before anything was called.
        self.item_codes = self.add_weight(
            shape=(codes, rows), dtype="uint8", initializer="zeros", trainable=False, name="codes"
        )
        self.parts = self.add_weight(
            shape=(codes * PARTS, units),
            initializer=keras.initializers.RandomNormal(0.0, (units * codes) ** -0.5),
            name="parts",
        )
        self.part_scores = self.add_weight(
            shape=(codes * PARTS,), initializer="zeros", name="part_scores"
        )
        self.built = True

    def call(self, inputs: Any, history: Any = None, reverse: bool = False) -> Any:
        """Vectors of items, or scores of all items.

        Args:
            inputs: int32[...] items; or float32[b, d] states, with `reverse`.
            history: int32[b, L], the graph's own input; with `reverse` only.
            reverse: Which of the two.

        Returns:
            float32[..., d]; or float32[b, rows], padding's column of no meaning.
        """
        import tensorflow as tf

        if not reverse:
            return self._vectors(inputs)
        scores = tf.matmul(inputs, tf.convert_to_tensor(self.parts), transpose_b=True)
        scores = tf.reshape(scores + self.part_scores, (-1, self.codes, PARTS))
        return self._scores(scores, history)

    def look_up(self, items: Any) -> tuple[Any, Any]:
        """What training scores single items with.

        Args:
            items: int32[n].

        Returns:
            float32[n, d] vectors and float32[n], what is added to the scores.
        """
        import tensorflow as tf

        added = tf.gather(tf.convert_to_tensor(self.part_scores), self._places(items))
        return self._vectors(items), tf.reduce_sum(added, axis=0)

    def score_all(self, hidden: Any) -> Any:
        """What training scores the whole of a small catalogue with.

        Putting all vectors together once is quicker for many states than adding up looked-up
        scores for each; for one state it is the other way round.

        Args:
            hidden: float32[n, d].

        Returns:
            float32[n, rows].
        """
        import tensorflow as tf

        vectors, added = self.look_up(tf.range(self.rows))
        padding = tf.one_hot(0, self.rows, on_value=_PADDING_SCORE, off_value=0.0)
        return tf.matmul(hidden, vectors, transpose_b=True) + (added + padding)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        own = {"rows": self.rows, "units": self.units, "codes": self.codes}
        return {**super().get_config(), **own}

    def _places(self, items: Any) -> Any:
        """int32[m, ...]: where an item's parts are in the list of all parts."""
        import tensorflow as tf

        # `keras.ops.take` would look for negative places, three more operators each.
        codes = tf.cast(tf.gather(tf.convert_to_tensor(self.item_codes), items, axis=1), tf.int32)
        first = tf.reshape(tf.range(self.codes) * PARTS, (-1, *(1 for _ in items.shape)))
        return codes + first

    def _vectors(self, items: Any) -> Any:
        import tensorflow as tf

        found = tf.gather(tf.convert_to_tensor(self.parts), self._places(items))
        return tf.reduce_sum(found, axis=0)

    def _scores(self, scores: Any, history: Any) -> Any:
        """float32[b, rows] from float32[b, m, 256]."""
        import tensorflow as tf

        # Always 0, which no converter can know. Codes that are looked up at a place known
        # beforehand are widened to 32 bits in the file, and kept apart from those that the
        # history is looked up in: five times the bytes.
        zero = tf.minimum(history[0, 0], 0)
        codes = tf.convert_to_tensor(self.item_codes)

        def code(number: int) -> Any:
            return tf.cast(tf.gather(codes, zero + number), tf.int32)

        if self.codes % 2 or self.rows < PAIRED_FROM_ITEMS:
            found = [tf.gather(scores[:, m], code(m), axis=1) for m in range(self.codes)]
        else:
            pairs = scores[:, 0::2, :, None] + scores[:, 1::2, None, :]
            pairs = tf.reshape(pairs, (-1, self.codes // 2, PARTS * PARTS))
            found = [
                tf.gather(pairs[:, m], code(2 * m) * PARTS + code(2 * m + 1), axis=1)
                for m in range(self.codes // 2)
            ]
        total = found[0]
        for each in found[1:]:
            total = total + each
        return total
