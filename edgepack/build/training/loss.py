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


def sampled_logits(
    hidden: Any,
    targets: Any,
    sampled: Any,
    look_up: Callable[[Any], tuple[Any, Any]],
    catalogue: int,
) -> Any:
    """Scores of each row's target, first, and of a sample of the catalogue.

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
        float32[n, 1 + s].

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
    return tf.concat([own[:, None], others], axis=1)


def sampled_softmax_loss(logits: Any) -> Any:
    """Cross-entropy of the target against a sample of the catalogue.

    Args:
        logits: float32[n, 1 + s] from `sampled_logits`.

    Returns:
        float32[n].
    """
    import tensorflow as tf

    return tf.reduce_logsumexp(logits, axis=1) - logits[:, 0]


def distillation_loss(logits: Any, teacher_logits: Any, temperature: float) -> Any:
    """How far a model's ranking is from its teacher's, over the same items.

    Args:
        logits: float32[n, c].
        teacher_logits: float32[n, c]; no gradient goes through them.
        temperature: What both are divided by.

    Returns:
        float32[n], the Kullback-Leibler divergence times the temperature squared, which keeps
        its gradient as large as the cross-entropy's.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    import tensorflow as tf

    aimed = tf.nn.log_softmax(tf.stop_gradient(teacher_logits) / temperature)
    found = tf.nn.log_softmax(logits / temperature)
    return temperature**2 * tf.reduce_sum(tf.exp(aimed) * (aimed - found), axis=-1)
