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
#: The release that serves, one on trial, and those before them.
MAX_CHOICES: Final = 4
#: Four choices among nine candidates with ten options each have about 120 kB.
MAX_CHOICE_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class ChoiceKey:
    """What a choice was measured on; it is made again when any of it changes.

    `gpu` is the card and its driver, such as `NVIDIA L4, driver 550.54.15`; None where the CPU
    computes.
    """

    release: Annotated[str, Range(low=64, high=64)]
    runtime: RuntimeName
    runtime_version: Name
    kernel: Name | None
    cpu_model: Name | None
    cores_allowed: Count | None
    gpu: Name | None = None


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


@dataclass(frozen=True, slots=True)
class Choices:
    """What a box keeps in `choice.json`: the newest choice of each of its last releases.

    A release on trial is chosen for beside the one that serves, so there is more than one.
    """

    choices: tuple[Choice, ...] = ()
    schema: str = SCHEMA

    def of_release(self, release: str) -> Choice | None:
        """Returns the choice for a release, or None."""
        return next((each for each in self.choices if each.key.release == release), None)

    def with_choice(self, choice: Choice) -> Choices:
        """Returns these with another one, in place of that release's former and of the oldest."""
        others = [each for each in self.choices if each.key.release != choice.key.release]
        return Choices((choice, *others)[:MAX_CHOICES])

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of `choice.json`."""
        return canonical_json(to_plain(self))


def parse_choices(data: bytes) -> Choices:
    """Parses `choice.json`.

    Args:
        data: Its bytes.

    Returns:
        The choices; fields this version does not know are dropped.

    Raises:
        BundleError: Too long, not JSON, of another version, or with something that is no choice.
    """
    document = parse_json(data, what="choice.json", limit=MAX_CHOICE_BYTES)
    if document.get("schema") != SCHEMA:
        raise BundleError(
            f"choice.json: schema {document.get('schema')!r:.80}, expected '{SCHEMA}'"
        )
    problems = check_value(Choices, document, "")
    if not problems:
        kept = cast("Choices", from_plain(Choices, document))
        problems = [
            Problem(f"choices[{i}].variant", f"'{each.variant}' has no sound row of its own")
            for i, each in enumerate(kept.choices)
            if not _is_measured(each)
        ]
        if not problems:
            return kept
    lines = "".join(f"\n  {problem}" for problem in problems[:20])
    raise BundleError(f"choice.json holds no choices: {len(problems)} problems{lines}")


def _is_measured(choice: Choice) -> bool:
    return any(
        (row.variant, row.options, row.problem) == (choice.variant, choice.options, None)
        for row in choice.rows
    )
