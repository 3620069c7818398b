"""What a build is asked for and what it answers; the steps are beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import Gate, TrainedModel
from edgepack.build.choose import VariantRow
from edgepack.build.data.interactions import DataSource
from edgepack.formats.errors import ConfigError, EdgepackError
from edgepack.formats.evidence import Evidence
from edgepack.formats.tuning import Tuning
from edgepack.formats.variants import RuntimeName, VariantSpec


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Which model, from what.

    Attributes:
        model: A model project's name or folder, or a `.keras`, `.h5`, `.onnx` file or
            SavedModel folder.
        source: The log to learn from; None for what the project says.
        samples: A user's own model's sample inputs, an npz.
        gate: Replaces the gate of a user's own model; None for the default.
        search: Folders of model projects, the user's own first.
        recipe: Which of a project's recipes to train by; None for none.
    """

    model: str
    source: DataSource | None = None
    samples: Path | None = None
    gate: Gate | None = None
    search: tuple[Path, ...] = ()
    recipe: str | None = None


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One call of `edgepack build`.

    Attributes:
        model: The model.
        targets: Targets' names; `all` stands for every one.
        out: The folder bundles are written to.
        runtime: Forces a runtime; None chooses.
        variants: The only variants to look at; None for all a target allows.
        candidates: The most variants to pack; None for what the target says.
        allow_unverified: Ship a variant that could not be run on the target.
        mirror: Where emulated roots come from; None for the host's own apt sources.
        jobs: Conversions and runs at a time.
        search: Folders of targets, the user's own first.
        evidence: What the field says of the model, by target; a target may be missing.
        tuned: What `edgepack tune` found for one of the targets, which chooses there.
    """

    model: ModelRequest
    targets: tuple[str, ...]
    out: Path
    runtime: RuntimeName | None = None
    variants: tuple[VariantSpec, ...] | None = None
    candidates: int | None = None
    allow_unverified: bool = False
    mirror: str | None = None
    jobs: int = 2
    search: tuple[Path, ...] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    tuned: Tuning | None = None


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """A bundle that was written.

    Attributes:
        path: The file.
        size_bytes: Its bytes.
        sha256: Its hash.
        target: The target's name.
        runtime: Its runtime.
        chosen: The chosen variant's name.
        reason: Why that one.
    """

    path: Path
    size_bytes: int
    sha256: str
    target: str
    runtime: RuntimeName
    chosen: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Returns the bundle as `edgepack build --json` prints it."""
        return {
            "path": str(self.path),
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "target": self.target,
            "runtime": str(self.runtime),
            "chosen": self.chosen,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build came to.

    Attributes:
        model: The model.
        bundles: What was written, one for each target that got one.
        rows: Every variant on every runtime of every target, with its verdict.
        failures: For each target without a bundle, why.
    """

    model: TrainedModel
    bundles: tuple[BuiltBundle, ...]
    rows: tuple[VariantRow, ...]
    failures: Mapping[str, EdgepackError] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgepack build --json` prints."""
        return {
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "sha256": self.model.sha256,
                "metrics": self.model.facts.get("metrics", {}),
            },
            "bundles": [bundle.to_json() for bundle in self.bundles],
            "variants": [row.to_json() for row in self.rows],
            "failures": {
                target: {"error": error.message, "exit_code": error.exit_code}
                for target, error in self.failures.items()
            },
        }


def check_out(out: Path) -> None:
    """Finds out before minutes of work that an output folder cannot be written.

    Args:
        out: It need not exist yet.

    Raises:
        ConfigError: What exists of its path is no folder or may not be written.
    """
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        what = "is no folder" if not existing.is_dir() else "may not be written"
        raise ConfigError(
            f"nothing can be written to {out}: {existing} {what}",
            hint="choose another folder with --out",
        )
