"""An answer as sentences and tables: what the terminal prints and `/api/…` answers as JSON.

The first table is the one that `.csv` gives. It is not aware of the store. Anyone in the hub and
the command line may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edgepack.formats.canonical import parse_json
from edgepack.formats.errors import BundleError, HubError
from edgepack.formats.typed import to_plain
from edgepack.hub.answers.compare import CompareAnswer
from edgepack.hub.answers.device import DeviceAnswer
from edgepack.hub.answers.fleet import FleetAnswer
from edgepack.hub.answers.health import WORDS
from edgepack.hub.answers.releases import ReleaseAnswer, ReleasesAnswer
from edgepack.hub.answers.selecting import SelectAnswer
from edgepack.hub.answers.table import Table, format_moment, table_from_json
from edgepack.hub.answers.words import boxes, setup_words

SCHEMA: Final = "edgepack.answer/1"

Answer = FleetAnswer | DeviceAnswer | CompareAnswer | ReleasesAnswer | ReleaseAnswer | SelectAnswer


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as a hub sent it: its SVG is text of somebody else's, and no markup of ours.

    Attributes:
        title: What it shows, in words.
        svg: The drawing.
        legend: Style classes with what they stand for.
        note: A sentence below it, or empty.
    """

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """An answer as it is printed.

    Attributes:
        title: What it is about.
        lines: Sentences.
        tables: At least one; the first is the answer's own.
        charts: What the hub drew of it; None where it was not asked for charts, or knows none.
    """

    title: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what the hub's API answers."""
        value = {
            "schema": SCHEMA,
            "title": self.title,
            "lines": list(self.lines),
            "tables": [table.to_json() for table in self.tables],
        }
        if self.charts is not None:
            value["charts"] = [to_plain(each) for each in self.charts]
        return value


def sheet_of(answer: Answer) -> Sheet:
    """Puts an answer into sentences and tables."""
    match answer:
        case FleetAnswer():
            return _fleet(answer)
        case DeviceAnswer():
            return _device(answer)
        case CompareAnswer():
            return _compare(answer)
        case ReleasesAnswer():
            return Sheet("Releases", (), (answer.table,))
        case ReleaseAnswer():
            return _release(answer)
        case SelectAnswer():
            return _select(answer)


def parse_sheet(data: bytes) -> Sheet:
    """Parses what a hub answered.

    Args:
        data: The bytes.

    Returns:
        The sheet.

    Raises:
        HubError: Too long, not JSON, of another version, or no answer.
    """
    try:
        value = parse_json(data, what="the hub's answer")
    except BundleError as error:
        raise HubError(error.message) from error
    if value.get("schema") != SCHEMA:
        raise HubError(
            f"the hub's answer: schema {value.get('schema')!r:.80}, expected '{SCHEMA}'",
            hint="is this the address of a hub, and is it as new as this edgepack?",
        )
    try:
        return Sheet(
            str(value["title"]),
            tuple(str(each) for each in value["lines"]),
            # The first is the answer's own, so there is one.
            (table_from_json(value["tables"][0]), *map(table_from_json, value["tables"][1:])),
            None if value.get("charts") is None else tuple(map(_chart, value["charts"])),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise HubError(f"the hub's answer cannot be read: {error!r:.200}") from error


def _chart(value: Any) -> Chart:
    legend = tuple((str(name), str(words)) for name, words in value["legend"])
    return Chart(str(value["title"]), str(value["svg"]), legend, str(value["note"]))


def _fleet(answer: FleetAnswer) -> Sheet:
    conditions = next(each for each in answer.facets if each.key == "condition")
    shown = len(answer.devices)
    first = answer.query.offset + 1
    lines = [f"{answer.matching:,} of {answer.total:,} devices; {first} to {first + shown - 1}"]
    if not shown:
        lines = [f"{answer.matching:,} of {answer.total:,} devices; none to show"]
    lines += [f"{each.value}: {each.devices:,}, {each.title}" for each in conditions.choices]
    return Sheet("Fleet", tuple(lines), (answer.table,))


def _device(answer: DeviceAnswer) -> Sheet:
    device = answer.device
    seen = "never" if device.seen_ms is None else format_moment(device.seen_ms)
    named = f"{device.name} ({device.label})" if device.label else device.name
    lines = [
        f"{named}: {WORDS[device.condition]}; last seen {seen}, {device.reports:,} reports",
        f"{device.box or 'an unknown kind of box'}",
    ]
    if device.release is not None and device.setup is not None:
        release = device.release
        lines.append(
            f"{release.model} {release.version} for {release.target}: {setup_words(device.setup)}"
        )
    if device.revoked_ms is not None:
        lines.append(f"revoked at {format_moment(device.revoked_ms)}")
    lines += [
        f"{format_moment(each.created_ms)}: {each.before.version} became {each.release.version}"
        for each in answer.changes
        if each.before is not None
    ]
    return Sheet(device.name, tuple(lines), (answer.reports, answer.runs, answer.history))


def _compare(answer: CompareAnswer) -> Sheet:
    if answer.refusal is not None:
        refusal = answer.refusal
        lines = [refusal.reason]
        for each in refusal.differences:
            values = ", ".join(f"{c.value} ({c.results:,} runs)" for c in each.choices)
            lines.append(f"{each.title} [{each.fact}]: {values}")
        return Sheet("Not compared", tuple(lines), (refusal.table,))
    context = answer.context
    where = "" if context is None else f"{context.model}, {context.scenario}, on {context.box}"
    tables = tuple((answer.tables or {}).values())
    return Sheet(f"Compared: {where}", answer.notes, tables)


def _release(answer: ReleaseAnswer) -> Sheet:
    release, before = answer.release, answer.before
    against = f" against {before.version}" if before else ""
    lines = [
        answer.summary,
        f"{boxes(answer.boxes_after)} with a run of it, {answer.boxes_both:,} of them with both",
    ]
    tables = (answer.table, answer.doubtful_table)
    title = f"{release.model} {release.version} for {release.target}{against}"
    return Sheet(title, tuple(lines), tables)


def _select(answer: SelectAnswer) -> Sheet:
    evidence = answer.evidence
    title = f"{evidence.model} for {evidence.target}, by {evidence.scenario} latency in the field"
    lines = [evidence.reason]
    for run in evidence.needed:
        lines.append(
            f"{boxes(run.boxes)} more ({run.box}) with {run.variant} on {run.runtime}: {run.reason}"
        )
        lines += [f"  {command}" for command in run.commands]
    tables = answer.kinds if len(answer.kinds) == 1 else (answer.picks, *answer.kinds)
    return Sheet(title, tuple(lines), tables)
