"""What is written down about a trained model: `training.json` and `samples.npz`.

Not aware of TensorFlow or of how it was trained. May be imported by `edgepack.build.training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.interactions import Interactions
from edgepack.build.data.sequences import Sequences
from edgepack.build.projects.project import Project
from edgepack.build.training.examples import prefixes

FORMAT = 1
POPULAR_ITEMS = 50
# Rows on which the quality of variants is measured.
_QUALITY_ROWS = 5_000
# Rows of which the distributions for noticing drift are made.
_REFERENCE_ROWS = 5_000
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def make_samples(project: Project, sequences: Sequences) -> dict[str, NDArray[Any]]:
    """Histories for calibrating and for measuring variants.

    Args:
        project: Its sequence length, seed and number of calibration samples.
        sequences: All sequences.

    Returns:
        `calibration` int32[c, L] histories of training events, `histories` int32[n, L] and
        `targets` int32[n] of the test, `item_counts` int64[catalogue + 1] training events.
    """
    random = np.random.default_rng(project.training.seed)
    rows = np.sort(random.permutation(len(sequences))[:_QUALITY_ROWS]).astype(np.int64)
    histories, targets = sequences.histories(1, project.sequence_length, rows)
    seen, _ = prefixes(sequences, 1, project.sequence_length)
    chosen = np.sort(random.permutation(len(seen))[: project.calibration_samples])
    return {
        "calibration": seen[chosen],
        "histories": histories,
        "targets": targets,
        "item_counts": sequences.counts(1),
    }


def asked_histories(project: Project, sequences: Sequences) -> NDArray[np.int32]:
    """Histories as a shop asks about them: after each event of a session, not at its end alone.

    Args:
        project: Its sequence length and seed.
        sequences: All sequences.

    Returns:
        int32[n, L], n at most 5,000, drawn evenly from all prefixes without the test's targets.
    """
    random = np.random.default_rng(project.training.seed)
    seen, _ = prefixes(sequences, 1, project.sequence_length)
    return seen[np.sort(random.permutation(len(seen))[:_REFERENCE_ROWS])]


def data_facts(interactions: Interactions, sequences: Sequences) -> dict[str, Any]:
    """What was read and what was left out, and why.

    Args:
        interactions: As read.
        sequences: As kept.
    """
    dropped = {f"not {reason}": count for reason, count in interactions.dropped.items()}
    dropped["in a session of fewer than 3 events"] = sequences.short_events
    return {
        "source": interactions.source,
        "rows": interactions.rows_read,
        "sessions": interactions.session_count,
        "sessions_kept": len(sequences),
        "events_kept": len(sequences.items),
        "items": len(sequences.vocabulary),
        "rows_dropped": dropped,
    }


def reference_distributions(
    histories: NDArray[np.int32], top_scores: NDArray[np.float32]
) -> dict[str, Any]:
    """What a box in the field should see, to notice drift.

    Args:
        histories: int32[n, L], as a shop asks about them.
        top_scores: float32[n, k], the k best scores of each, best first.

    Returns:
        `history_length`: how many histories have 0, 1, .. L items (L: that many or more);
        `score_quantiles`: of the best and of the k-th best score, and of their `spread`, the
        one minus the other.
    """
    lengths = (histories > 0).sum(axis=1)
    return {
        "history_length": {
            "counts": np.bincount(lengths, minlength=histories.shape[1] + 1).tolist(),
            "last_bin_is_or_more": True,
        },
        "score_quantiles": {
            "top1": _quantiles(top_scores[:, 0]),
            f"top{top_scores.shape[1]}": _quantiles(top_scores[:, -1]),
            "spread": _quantiles(top_scores[:, 0] - top_scores[:, -1]),
        },
    }


def _quantiles(values: NDArray[np.float32]) -> dict[str, float]:
    # Five digits: more would differ between processors for no use.
    return {
        f"p{round(share * 100):02d}": float(f"{np.quantile(values, share):.5g}")
        for share in QUANTILES
    }


def popular_items(sequences: Sequences) -> list[str]:
    """The most popular items, most events first: what to answer without a model.

    Args:
        sequences: All sequences; their vocabulary is in that order.
    """
    return list(sequences.vocabulary.items[:POPULAR_ITEMS])


def project_facts(project: Project) -> Mapping[str, Any]:
    """The settings that made the model, for `training.json`.

    Args:
        project: The project.
    """
    return project.training_key()
