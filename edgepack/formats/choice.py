"""What a box chose to run, among a bundle's candidates and a runtime's options, and why.

The runner keeps it beside its state and puts it into its report. It is not aware of how anything
was measured. Anyone may import it; standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, cast

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import BundleError, Problem
from edgepack.formats.options import EngineOptions
from edgepack.formats.typed import (
    Count,
    Name,
    Range,
    Ratio,
    Sentence,
    check_value,
    from_plain,
    to_plain,
)
from edgepack.formats.variants import RuntimeName

SCHEMA: Final = "edgepack.choice/1"
#: Nine candidates with ten options each have about 30 kB.
MAX_CHOICE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class ChoiceKey:
    """What a choice was measured on; it is made again when any of it changes."""

    release: Annotated[str, Range(low=64, high=64)]
    runtime: RuntimeName
    runtime_version: Name
    kernel: Name | None
    cpu_model: Name | None
    cores_allowed: Count | None


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """One candidate with one set of options.

    `medians_ns` has the median of each interleaved round, `median_ns` is theirs, `spread` their
    interquartile range as a share of it. `problem` says why it is out: it could not be loaded,
    crashed, or answered wrongly.
    """

    variant: Name
    options: EngineOptions
    medians_ns: tuple[Count, ...] = ()
    median_ns: Count | None = None
    spread: Ratio | None = None
    problem: Sentence | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice with the numbers it rests on.

    Attributes:
        created: RFC 3339, UTC, by the box's own clock.
        key: What it was measured on.
        variant: The candidate that runs.
        options: How it is opened.
        reason: Why, in words.
        rows: Everything that was tried, the chosen row among it.
    """

    created: Name
    key: ChoiceKey
    variant: Name
    options: EngineOptions
    reason: Sentence
    rows: tuple[ChoiceRow, ...]
    schema: str = SCHEMA

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of `choice.json`."""
        return canonical_json(to_plain(self))


def parse_choice(data: bytes) -> Choice:
    """Parses `choice.json`.

    Args:
        data: Its bytes.

    Returns:
        The choice; fields this version does not know are dropped.

    Raises:
        BundleError: Too long, not JSON, of another version, or not a choice.
    """
    document = parse_json(data, what="choice.json", limit=MAX_CHOICE_BYTES)
    if document.get("schema") != SCHEMA:
        raise BundleError(
            f"choice.json: schema {document.get('schema')!r:.80}, expected '{SCHEMA}'"
        )
    problems = check_value(Choice, document, "")
    if not problems:
        choice = cast("Choice", from_plain(Choice, document))
        if _is_measured(choice):
            return choice
        problems = [Problem("variant", f"'{choice.variant}' has no sound row of its own")]
    lines = "".join(f"\n  {problem}" for problem in problems[:20])
    raise BundleError(f"choice.json is not a choice: {len(problems)} problems{lines}")


def _is_measured(choice: Choice) -> bool:
    return any(
        (row.variant, row.options, row.problem) == (choice.variant, choice.options, None)
        for row in choice.rows
    )
