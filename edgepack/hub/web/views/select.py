"""The choice's page as values for its template. It is not aware of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgepack.formats.evidence import Evidence, KindOfBox
from edgepack.formats.report import Scenario
from edgepack.hub.answers.rows import ReleaseRow
from edgepack.hub.answers.selecting import SelectAnswer
from edgepack.hub.answers.table import Cell
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.web.views.forms import FieldView, choice_field, form_view, text_field
from edgepack.hub.web.views.tables import Linker, Place, TableView, table_view


@dataclass(frozen=True, slots=True)
class NeededView:
    """Runs that would settle something: which, why, and what to type, a line each."""

    words: str
    reason: str
    commands: str


def select_view(
    answer: SelectAnswer | None, releases: Sequence[ReleaseRow], place: Place
) -> dict[str, Any]:
    """Prepares the choice's page.

    Args:
        answer: The ranking; None: no target was named yet.
        releases: All that were reported; their targets and models are the form's choices.
        place: Where the page is.

    Returns:
        The values of `select.html`.
    """
    shared = {
        "place": "select",
        "form": form_view("What is chosen for", place, _fields(releases, place)),
    }
    if answer is None:
        lead = "Name a target to rank its variants by the latency its boxes reported."
        if not releases:
            lead = "There are no reports yet."
        nothing: dict[str, Any] = {"mark": "", "state": "", "tables": (), "needed": ()}
        return shared | nothing | {"title": "Choose", "lead": lead}
    evidence = answer.evidence
    reason = evidence.reason
    return shared | {
        "title": f"{evidence.model} for {evidence.target}",
        "mark": "good" if evidence.settled else "warn",
        "state": "settled" if evidence.settled else "not settled",
        "lead": f"{reason[:1].upper()}{reason[1:]}.",
        "tables": _tables(answer, place),
        "needed": [
            NeededView(
                f"{boxes_words(each.boxes)} more ({each.box}): {each.variant} on {each.runtime}",
                each.reason,
                "\n".join(each.commands),
            )
            for each in evidence.needed
        ],
    }


def _fields(releases: Sequence[ReleaseRow], place: Place) -> list[FieldView]:
    asked = dict(place.params)
    targets = sorted({each.target for each in releases})
    chosen = asked.get("target")
    models = sorted({each.model for each in releases if chosen in (None, each.target)})
    scenarios = [
        (str(each), each.replace("_", " ")) for each in Scenario if each != Scenario.SINGLE_STREAM
    ]
    return [
        choice_field("target", "Target", chosen, [(each, each) for each in targets], "(choose)"),
        choice_field(
            "model", "Model", asked.get("model"), [(each, each) for each in models], "its only one"
        ),
        text_field("box", "Box has", asked.get("box")),
        choice_field(
            *("scenario", "Scenario", asked.get("scenario"), scenarios),
            str(Scenario.SINGLE_STREAM).replace("_", " "),
        ),
        text_field("max_p99_ms", "p99 at most, ms", asked.get("max_p99_ms"), mode="decimal"),
        text_field("max_size_mb", "File at most, MB", asked.get("max_size_mb"), mode="decimal"),
        text_field(
            "min_quality", "Quality at least, 0 to 1", asked.get("min_quality"), mode="decimal"
        ),
    ]


def _tables(answer: SelectAnswer, place: Place) -> list[TableView]:
    evidence = answer.evidence
    tables = []
    if len(evidence.kinds) > 1:
        tables.append(
            table_view(answer.picks, place, empty="No variant is ranked on any kind of box.")
        )
    for kind, table in zip(evidence.kinds, answer.kinds, strict=True):
        view = table_view(table, place, links=_links(evidence, kind, place))
        # The table's own title holds its reason too, which is long for a heading.
        note = f"{kind.reason[:1].upper()}{kind.reason[1:]}."
        tables.append(replace(view, title=f"{kind.box}, {boxes_words(kind.boxes)}", note=note))
    if evidence.needed:
        tables.append(table_view(answer.needed, place))
    return tables


def _links(evidence: Evidence, kind: KindOfBox, place: Place) -> dict[str, Linker]:
    def compared(row: Mapping[str, Cell]) -> str | None:
        params = [("context", kind.context), ("target", evidence.target)]
        return place.addresses.to("compare", params=[*params, ("runtime", str(row["runtime"]))])

    return {"runtime": compared}
