"""What the field says of the variants for a target, `edgepack.evidence/1`.

The hub makes it, `edgepack select` shows it, `edgepack build` chooses by it. Only trusted reports
count; a statement that the boxes are too few for is not made. It is not aware of reports or of a
store. Anyone may import it; standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import HubError
from edgepack.formats.typed import Count, Name, Ratio, Sentence, check_value, from_plain, to_plain

SCHEMA: Final = "edgepack.evidence/1"
#: A dozen variants on a hundred kinds of boxes have about 500 kB.
MAX_EVIDENCE_BYTES: Final = 4 * 2**20


class Status(StrEnum):
    """How a variant stands for one kind of box.

    RANKED: enough trusted boxes, within every limit. OVER_LIMIT: enough, but a limit is missed.
    TOO_FEW_BOXES: trusted reports, but of too few boxes. NO_TRUSTED_REPORTS: none that count.
    """

    RANKED = "ranked"
    OVER_LIMIT = "over_limit"
    TOO_FEW_BOXES = "too_few_boxes"
    NO_TRUSTED_REPORTS = "no_trusted_reports"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a variant must keep to be ranked; None: no limit.

    Attributes:
        max_p99_ns: The highest p99 that nine boxes in ten may have.
        max_size_bytes: The largest model file.
        min_quality: The lowest quality (see `Candidate.quality`).
    """

    max_p99_ns: Count | None = None
    max_size_bytes: Count | None = None
    min_quality: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant on a runtime, on one kind of box.

    Attributes:
        runtime: Such as `litert`.
        variant: Such as `tflite-dynamic-int8`.
        runtime_version: Of its newest reports.
        size_bytes: The model file of its newest release.
        quality: NDCG@10 as a share of fp32's; of a model that ranks nothing the share of rows with
            the same largest output. None where no report says.
        boxes: How many boxes measured it in reports that count; each counts once.
        doubtful_boxes: Boxes with reports that do not count.
        emulated_boxes: Boxes that were none.
        p50_ns: The median box's median latency; None with too few boxes.
        p50_low_ns: Together with `p50_high_ns` the interval that holds the median box at 99 %
            confidence.
        p50_high_ns: See `p50_low_ns`.
        p99_ns: The p99 that nine boxes in ten keep; None with too few boxes.
        status: How it stands.
        place: 1 is the fastest; None where it is not ranked.
        reason: Why this place, in words.
    """

    runtime: Name
    variant: Name
    runtime_version: Name
    size_bytes: Count
    quality: Ratio | None
    boxes: Count
    doubtful_boxes: Count
    emulated_boxes: Count
    p50_ns: Count | None
    p50_low_ns: Count | None
    p50_high_ns: Count | None
    p99_ns: Count | None
    status: Status
    place: Count | None
    reason: Sentence


@dataclass(frozen=True, slots=True)
class KindOfBox:
    """One kind of box that the target has in the field, with every variant on it.

    Attributes:
        box: The kind in words.
        box_key: The same as a short key.
        context: The digest of the context that was read.
        boxes: Boxes whose reports count.
        candidates: The ranked ones first.
        settled: Whether the first place is certain.
        reason: What is certain and what is not, in words.
    """

    box: Name
    box_key: Name
    context: Name
    boxes: Count
    candidates: tuple[Candidate, ...]
    settled: bool
    reason: Sentence


@dataclass(frozen=True, slots=True)
class Pick:
    """A variant over all kinds of boxes where it is ranked.

    Attributes:
        runtime: The runtime.
        variant: The variant's name.
        relative: Its latency as a multiple of the fastest on each kind of box, averaged over the
            boxes (geometric mean); 1 is the fastest everywhere.
        low: The same for the lower ends of its intervals.
        high: The same for the upper ends.
        p50_ns: The median latency on the kind of box that most of them are.
        boxes: Boxes that measured it.
        kinds: On how many kinds of boxes it is ranked.
    """

    runtime: Name
    variant: Name
    relative: Ratio
    low: Ratio
    high: Ratio
    p50_ns: Count
    boxes: Count
    kinds: Count


@dataclass(frozen=True, slots=True)
class NeededRun:
    """What would settle an open question.

    Attributes:
        box: The kind of box in words.
        runtime: The runtime.
        variant: The variant's name.
        boxes: How many more boxes of that kind should measure it.
        reason: Why.
        commands: What to type, on the host and then on each box.
    """

    box: Name
    runtime: Name
    variant: Name
    boxes: Count
    reason: Sentence
    commands: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the field says for one target and model.

    Attributes:
        created: When it was made, RFC 3339, UTC.
        source: The hub's address or the file.
        target: The target's name.
        model: The model's name.
        scenario: Whose latency it is, such as `single_stream`.
        limits: What was asked for.
        picks: The variants over all kinds of boxes, the fastest first.
        settled: Whether the first pick is certain.
        reason: The answer in words.
        kinds: Each kind of box by itself, the one with most boxes first.
        needed: The runs that would settle what is open.
    """

    created: Name
    source: Sentence
    target: Name
    model: Name
    scenario: Name
    limits: Limits
    picks: tuple[Pick, ...]
    settled: bool
    reason: Sentence
    kinds: tuple[KindOfBox, ...] = ()
    needed: tuple[NeededRun, ...] = ()
    schema: str = field(default=SCHEMA)

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON that a hub answers."""
        return canonical_json(to_plain(self))


def parse_evidence(data: bytes) -> Evidence:
    """Parses what a hub answered.

    Args:
        data: The bytes.

    Returns:
        The evidence; fields this version does not know are dropped.

    Raises:
        BundleError: Too long or not JSON.
        HubError: Of another version, or with something that is no evidence.
    """
    document = parse_json(data, what="the hub's evidence", limit=MAX_EVIDENCE_BYTES)
    if document.get("schema") != SCHEMA:
        raise HubError(
            f"the hub's evidence: schema {document.get('schema')!r:.80}, expected '{SCHEMA}'",
            hint="is this the address of a hub, and is it as new as this edgepack?",
        )
    problems = check_value(Evidence, document, "")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems[:20])
        raise HubError(f"the hub's evidence has {len(problems)} problems{lines}")
    return cast("Evidence", from_plain(Evidence, document))
