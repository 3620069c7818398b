"""Imports TensorFlow without the lines its native code writes before it can be told not to.

Not aware of models. Used by `edgepack.build.training.train`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Imports TensorFlow quietly; an error of the import is raised as ever."""
    # Read by TensorFlow when it starts; messages of its own from then on are errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _muted_stderr():
        import tensorflow as tf

        # The first operation looks for devices and says what it did not find.
        tf.constant(0) + 0


@contextmanager
def _muted_stderr() -> Iterator[None]:
    # Native code writes to the descriptor, so replacing sys.stderr would not reach it.
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
