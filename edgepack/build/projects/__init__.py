"""Model projects: `models/<name>/model.toml` as a checked value.

Not aware of TensorFlow, of training or of what a data file holds. May be imported by
`edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

from edgepack.build.projects.find import find_projects, load_project
from edgepack.build.projects.parse import parse_project
from edgepack.build.projects.project import Loss, Project, TrainingSettings

__all__ = [
    "Loss",
    "Project",
    "TrainingSettings",
    "find_projects",
    "load_project",
    "parse_project",
]
