"""Every fuzzed parser; a new one is a line in the module of its kind."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.files import file_targets
from tests.fuzz.target import Target
from tests.fuzz.wire import wire_targets

NAMES = (
    *("connection", "routes"),
    *("manifest", "golden", "vocabulary", "report", "choices", "settings"),
    *("evidence", "hub's answer"),
    *("bundle", "bundle's manifest, sealed", "payload's tar", "payload's xz"),
    *("device id", "kept choices", "kept drift", "serving mark", "spool", "token"),
    *("notify", "retry-after", "root's marker", "external wheels"),
)


def all_targets(folder: Path) -> dict[str, Target]:
    """Makes every target.

    Args:
        folder: An empty folder of theirs.
    """
    made = [*wire_targets(folder / "app"), *file_targets(folder)]
    return {target.name: target for target in made}
