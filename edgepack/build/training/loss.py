"""Softmax cross-entropy over the whole catalogue, or over a sample of a large one.

Binary cross-entropy with one negative is known to be far weaker and is not offered (Klenitskiy
and Vasilev 2023, arXiv:2309.07602). Not aware of models or data. May be imported by
`edgepack.build.training`; TensorFlow is imported on use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Classes in the sample: one set for a whole batch, so it costs one small matrix product.
SAMPLED_CLASSES = 2048


def sample_classes(catalogue: int, count: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Draws items log-uniformly, popular ones (low indices) more often, with replacement.

    Args:
        catalogue: Number of items.
        count: How many to draw.
        random: Where chance comes from.

    Returns:
        int32[count], 1..catalogue.

    Source: the log-uniform (Zipfian) candidate sampler of TensorFlow; it needs indices ordered
    by popularity, which a vocabulary has.
    """
    drawn = np.exp(random.random(count) * np.log(catalogue + 1.0))
    classes: NDArray[np.int32] = np.clip(drawn.astype(np.int32), 1, catalogue)
    return classes


def log_expected_count(items: Any, catalogue: int, count: int) -> Any:
    """Log of how often `sample_classes` is expected to draw each item.

    Args:
        items: int32[...] tensor, 1..catalogue.
        catalogue: Number of items.
        count: How many are drawn.

    Returns:
        float32[...] tensor.
    """
    import tensorflow as tf

    index = tf.cast(items, tf.float32)
    share = tf.math.log1p(1.0 / index) / np.float32(np.log(catalogue + 1.0))
    return tf.math.log(share * np.float32(count))


def full_softmax_loss(logits: Any, targets: Any, smoothing: float) -> Any:
    """Cross-entropy over the catalogue.

    Args:
        logits: float32[n, catalogue + 1].
        targets: int32[n], 1..catalogue.
        smoothing: Share of the target's mass spread over all classes, 0..1.

    Returns:
        float32[n].
    """
    import tensorflow as tf

    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    if smoothing:
        spread = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        loss = (1.0 - smoothing) * loss + smoothing * spread
    return loss


def sampled_softmax_loss(
    hidden: Any,
    targets: Any,
    sampled: Any,
    look_up: Callable[[Any], tuple[Any, Any]],
    catalogue: int,
) -> Any:
    """Cross-entropy of the target against a sample of the catalogue.

    Each logit is lowered by the log of how often its item is drawn, which makes the expected
    gradient that of the full softmax; a drawn item that is the row's own target is left out.

    Args:
        hidden: float32[n, d].
        targets: int32[n], 1..catalogue.
        sampled: int32[s] from `sample_classes`.
        look_up: Gives float32[n, d] vectors of int32[n] items and float32[n], what is added
            to their scores: only what is asked for is read and gets a gradient.
        catalogue: Number of items.

    Returns:
        float32[n].

    Source: Jean et al. 2015, arXiv:1412.2007, section 3.
    """
    import tensorflow as tf

    count = int(sampled.shape[0])
    vectors, added = look_up(targets)
    own = tf.reduce_sum(hidden * vectors, axis=-1) + added
    own -= log_expected_count(targets, catalogue, count)
    vectors, added = look_up(sampled)
    others = tf.matmul(hidden, vectors, transpose_b=True)
    others += added - log_expected_count(sampled, catalogue, count)
    hit = tf.equal(targets[:, None], sampled[None, :])
    others = tf.where(hit, tf.float32.min / 2, others)
    every = tf.concat([own[:, None], others], axis=1)
    return tf.reduce_logsumexp(every, axis=1) - own
