"""Shipped projects made small enough to be trained in a test."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgepack.build.data.synthetic import SyntheticShop
from edgepack.build.projects import Project, load_project
from edgepack.build.shipped import shipped_dir

SHOP = SyntheticShop(sessions=400, items=60, seed=5)
LENGTH = 8


def small(name: str, **training: Any) -> Project:
    """A shipped project on a small shop, for two passes and one more.

    Args:
        name: Of the project.
        training: Settings that differ.
    """
    project = load_project(name, [shipped_dir("models")])
    settings = dataclasses.replace(
        project.training, **{"epochs": 2, "refit_epochs": 1, "batch_size": 32, **training}
    )
    return dataclasses.replace(
        project, data=SHOP, training=settings, sequence_length=LENGTH, calibration_samples=20
    )
