"""Reads the files of `deploy/`, for the tests beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
#: One file for each kind of node.
RUNNERS = ("arm64", "amd64", "gpu")


def load_documents(path: Path) -> list[Any]:
    """Returns the documents of a YAML file."""
    with path.open(encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def load_document(path: Path) -> Any:
    """Returns the one document of a YAML file."""
    (document,) = load_documents(path)
    return document


def runner_of(kind: str) -> Any:
    """Returns the DaemonSet for a kind of node."""
    return load_document(KUBERNETES / f"runner-{kind}.yaml")
