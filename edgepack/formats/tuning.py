"""What `edgepack tune` measured and chose, `edgepack.tuning/1`, and a block of a measurement.

A block is one cell (a variant on a runtime with its options) measured for a short while in one
round; all cells have a block in every round. The runner writes blocks, the build reads them and
writes the whole. It is not aware of how anything was measured. Anyone may import it; standard
library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar, cast

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.device import DeviceFacts
from edgepack.formats.errors import BundleError, ConfigError
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import Duration
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

SCHEMA: Final = "edgepack.tuning/1"
#: A block keeps at most this many latencies, an even sample of all.
MOST_VALUES: Final = 2000
#: Two thousand latencies of a slow model have about 30 kB, the box's facts 5 kB.
MAX_BLOCK_BYTES: Final = 256 * 1024
#: A hundred cells with thirty rounds on a dozen machines have about 2 MB.
MAX_TUNING_BYTES: Final = 32 * 2**20

_Digest = Annotated[str, Range(low=64, high=64)]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured.

    Attributes:
        key: A digest of this very machine and of what decides its speed: CPU, kernel, cores,
            quota, governors. What was measured under two keys is never compared.
        device: What it is.
    """

    key: Name
    device: DeviceFacts


@dataclass(frozen=True, slots=True)
class Block:
    """One cell in one round.

    Attributes:
        round: Which round, from 0.
        machine: The machine's key.
        began: RFC 3339, UTC, by that machine's own clock.
        queries: Answers that count.
        duration_ns: From the first of them to the last.
        p50_ns: Their median, from item ids to item ids.
        p90_ns: Their 90th percentile.
        sampled_every: One latency in so many is in `values_ns`.
        values_ns: Latencies in the order they were measured.
        others_percent: What other programs took of all cores meanwhile; None where the system
            does not tell.
        reasons: Why it should be trusted less, in the words of a report's `trust`.
        problem: Why the cell is out: it cannot be loaded or answers wrongly.
    """

    round: Count
    machine: Name
    began: Name
    queries: Count = 0
    duration_ns: Count = 0
    p50_ns: Count = 0
    p90_ns: Count = 0
    sampled_every: Count = 1
    values_ns: tuple[Count, ...] = ()
    others_percent: Ratio | None = None
    reasons: tuple[Name, ...] = ()
    problem: Sentence | None = None

    def to_bytes(self) -> bytes:
        """Returns its canonical JSON."""
        return canonical_json(to_plain(self))


@dataclass(frozen=True, slots=True)
class TunedCell:
    """A variant on a runtime with its options, over all rounds on one machine.

    Attributes:
        runtime: The runtime.
        runtime_version: Its version.
        variant: The variant's name.
        options: How it is opened.
        sha256: Hash of the variant's file.
        size_bytes: Its bytes.
        bundle_bytes: Unpacked bytes of the file and of what its runtime needs.
        quality: See `Tuning.quality_name`; None where it was not measured.
        rounds: Rounds it was measured in.
        queries: Answers that count.
        p50_ns: Median of the rounds' medians; None where it is out.
        p90_ns: 90th percentile of all answers.
        p99_ns: Their 99th; None where they are too few to tell.
        p90_early_ns: LoadGen's estimate, which the true 90th percentile lies below with 99 %
            confidence.
        relative: Median of what it took as a multiple of the fastest in the same round.
        low: Together with `high` the interval that holds it at 99 % confidence.
        high: See `low`; None with fewer than eight rounds.
        valid: Whether LoadGen would call the run valid: long enough, enough queries.
        as_fast: Whether it cannot be told from the fastest, or is within the margin.
        on_front: No other is better in one of latency, bytes and quality and as good in all.
        problem: Why it is out, or None.
    """

    runtime: RuntimeName
    runtime_version: Name
    variant: Name
    options: EngineOptions
    sha256: _Digest
    size_bytes: Count
    bundle_bytes: Count
    quality: Ratio | None = None
    rounds: Count = 0
    queries: Count = 0
    p50_ns: Count | None = None
    p90_ns: Count | None = None
    p99_ns: Count | None = None
    p90_early_ns: Count | None = None
    relative: Ratio | None = None
    low: Ratio | None = None
    high: Ratio | None = None
    valid: bool = False
    as_fast: bool = False
    on_front: bool = False
    problem: Sentence | None = None

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.variant} on {self.runtime} with {self.options}"


@dataclass(frozen=True, slots=True)
class TunedMachine:
    """One machine's ranking.

    Attributes:
        machine: Which.
        cells: The fastest first, those that are out last.
        chosen: The place of the chosen one among them; None where all are out.
        reason: Why that one, in words.
        reservations: Why its times should be trusted less, in the words of a report's `trust`.
    """

    machine: Machine
    cells: tuple[TunedCell, ...]
    chosen: Count | None
    reason: Sentence
    reservations: tuple[Name, ...] = ()

    @property
    def choice(self) -> TunedCell | None:
        """The chosen cell, or None."""
        return None if self.chosen is None else self.cells[self.chosen]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A variant that was not measured.

    Attributes:
        runtime: The runtime.
        variant: The variant's name.
        verdict: Such as `fails the gate`.
        reason: Why, in words.
    """

    runtime: RuntimeName
    variant: Name
    verdict: Name
    reason: Annotated[str, Range(high=20_000)]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `edgepack tune` found.

    Attributes:
        created: RFC 3339, UTC.
        edgepack: The version that measured.
        target: The target's name.
        model: The model's name.
        model_version: Its version.
        model_sha256: Hash of the trained model.
        duration: How long each cell was measured.
        rounds: In how many rounds.
        margin: What counts as equally fast, such as 0.05.
        quality_name: What `TunedCell.quality` is, such as `overlap@10 with fp32`.
        machines: Each machine's own ranking.
        left_out: What was not measured.
    """

    created: Name
    edgepack: Name
    target: Name
    model: Name
    model_version: Name
    model_sha256: _Digest
    duration: Duration
    rounds: Count
    margin: Ratio
    quality_name: Name
    machines: tuple[TunedMachine, ...]
    left_out: tuple[LeftOut, ...] = ()
    schema: str = field(default=SCHEMA)

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of `tune.json`."""
        return canonical_json(to_plain(self))


def parse_tuning(data: bytes, *, what: str) -> Tuning:
    """Parses `tune.json`.

    Args:
        data: Its bytes.
        what: The file's name, for errors.

    Returns:
        The tuning; fields this version does not know are dropped.

    Raises:
        ConfigError: It is no tuning, or one of another version.
    """
    hint = "give the tune.json that `edgepack tune --out` wrote"
    try:
        document = parse_json(data, what=what, limit=MAX_TUNING_BYTES)
    except BundleError as error:
        raise ConfigError(error.message, hint=hint) from error
    if document.get("schema") != SCHEMA:
        raise ConfigError(
            f"{what}: schema {document.get('schema')!r:.80}, expected '{SCHEMA}'", hint=hint
        )
    if problems := check_value(Tuning, document, ""):
        raise ConfigError.from_problems(what, problems[:20], hint=hint)
    tuning = cast("Tuning", from_plain(Tuning, document))
    for each in tuning.machines:
        if each.chosen is not None and each.chosen >= len(each.cells):
            raise ConfigError(f"{what}: it chooses row {each.chosen} of {len(each.cells)}")
    return tuning


def parse_plain(kind: type[_T], value: Any) -> _T | None:
    """Reads a machine or a block from JSON values; None where it is none."""
    return None if check_value(kind, value, "") else cast("_T", from_plain(kind, value))


def parse_block(data: bytes) -> Block | None:
    """Reads a kept block; None where the file is damaged, so that it is measured again."""
    try:
        return parse_plain(Block, parse_json(data, what="a block", limit=MAX_BLOCK_BYTES))
    except BundleError:
        return None
