"""The values the end-to-end tests' fixtures hand out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: How the real clothing shop's log is read. Source: its SOURCE.md.
ESHOP_COLUMNS = ("--session", "session ID", "--item", "page 2 (clothing model)", "--order", "order")

Cli = Callable[..., "CliResult"]


@dataclass(frozen=True, slots=True)
class CliResult:
    """How a call of `edgepack` ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def value(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class FullBuild:
    """The issue's own build: the clothing shop, three targets."""

    out: Path
    arguments: tuple[str, ...]
    value: Any

    def bundle(self, target: str) -> Path:
        """The bundle of one target."""
        return next(Path(b["path"]) for b in self.value["bundles"] if b["target"] == target)

    def rows(self, target: str, runtime: str | None = None) -> dict[str, Any]:
        """One target's rows by variant name."""
        return {
            row["name"]: row
            for row in self.value["variants"]
            if row["target"] == target and runtime in (None, row["runtime"])
        }
