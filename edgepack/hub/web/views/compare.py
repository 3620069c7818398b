"""The comparison's page as values for its template. It is not aware of HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edgepack.formats.report import Scenario
from edgepack.hub.answers.compare import CompareAnswer, CompareQuery, Per
from edgepack.hub.answers.refusing import Difference
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.answers.words import fact_title, flat_facts
from edgepack.hub.web.addresses import changed
from edgepack.hub.web.charts.comparing import front_chart, spread_chart
from edgepack.hub.web.charts.svg import Drawn
from edgepack.hub.web.views.forms import choice_field, form_view, text_field
from edgepack.hub.web.views.tables import Linker, Place, table_view

#: The longest value that a question takes (`edgepack.hub.answers.params`).
_LONGEST: Final = 300
_OWN: Final = frozenset({"scenario", "model"})
_TITLES: Final = {
    Standing.TRUSTED: "How p50 is spread over boxes",
    Standing.DOUBTFUL: "Runs that are not trusted: how p50 is spread over boxes",
    Standing.EMULATED: "Emulated runs, which say nothing of a box's speed",
}


@dataclass(frozen=True, slots=True)
class ChoiceView:
    """One value that a selection can be narrowed to."""

    words: str
    results: str
    address: str | None


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """A fact that differs, with its values."""

    title: str
    choices: tuple[ChoiceView, ...]


@dataclass(frozen=True, slots=True)
class ChipView:
    """What a selection is narrowed to, and where it is not."""

    words: str
    address: str | None


def compare_view(answer: CompareAnswer, place: Place) -> dict[str, Any]:
    """Prepares the comparison's page.

    Args:
        answer: The comparison, or why there is none.
        place: Where the page is.

    Returns:
        The values of `compare.html`.
    """
    shared = {
        "place": "compare",
        "form": form_view("What is compared", place, _fields(answer.query), drop=("details",)),
        "narrowed": _narrowed(answer.query, place),
    }
    return shared | (_refused(answer, place) if answer.refusal else _compared(answer, place))


def _refused(answer: CompareAnswer, place: Place) -> dict[str, Any]:
    refusal = answer.refusal
    assert refusal is not None  # noqa: S101 - the caller looked
    reason = refusal.reason[:1].upper() + refusal.reason[1:]
    tables = [table_view(refusal.table, place, links=_context_links(place))]
    return {
        "title": "Not compared" if refusal.differences else "Compare",
        "summary": f"{reason}.",
        "differences": [_difference(each, place) for each in refusal.differences],
        "charts": (),
        "tables": tables if refusal.contexts else (),
        "notes": (),
        "facts": (),
    }


def _compared(answer: CompareAnswer, place: Place) -> dict[str, Any]:
    context = answer.context
    groups = answer.groups or {}
    tables = answer.tables or {}
    summary = ""
    if context is not None:
        rows = sum(map(len, groups.values()))
        most = max((each.boxes for part in groups.values() for each in part), default=0)
        summary = (
            f"{context.model}, {context.scenario.replace('_', ' ')}, on {context.box}: "
            f"{rows} rows with up to {boxes_words(most)}, all measured alike."
        )
    return {
        "title": "Compare",
        "summary": summary,
        "differences": (),
        "charts": compare_charts(answer),
        "tables": [
            table_view(each, place, links=_release_links(place), empty="No run can be trusted.")
            for each in tables.values()
        ],
        "notes": answer.notes,
        "facts": [
            (fact_title(path).capitalize(), value)
            for path, value in flat_facts(context.facts).items()
        ]
        if context is not None
        else (),
    }


def compare_charts(answer: CompareAnswer) -> tuple[Drawn, ...]:
    """Draws a comparison: how each row is spread, and what is best in latency and quality.

    Args:
        answer: The comparison.

    Returns:
        The charts; none of a refusal.
    """
    groups = answer.groups or {}
    trusted = groups.get(Standing.TRUSTED, ())
    charts: list[Drawn | None] = [
        spread_chart(trusted, _TITLES[Standing.TRUSTED]),
        front_chart(trusted, answer.score_name),
    ]
    charts += [
        spread_chart(part, _TITLES[trust])
        for trust, part in groups.items()
        if trust is not Standing.TRUSTED
    ]
    return tuple(each for each in charts if each is not None)


def _fields(query: CompareQuery) -> list[Any]:
    scenarios = [(str(each), each.replace("_", " ")) for each in Scenario]
    releases = [(str(Per.RELEASE), "each by itself")]
    per = None if query.per is Per.VARIANT else str(query.per)
    return [
        text_field("model", "Model", query.model),
        choice_field("scenario", "Scenario", query.scenario, scenarios, "any"),
        text_field("box", "Box has", query.box),
        text_field("target", "Target", query.target),
        text_field("runtime", "Runtime", query.runtime),
        text_field("precision", "Precision", query.precision),
        choice_field("per", "Releases", per, releases, "together"),
    ]


def _narrowed(query: CompareQuery, place: Place) -> list[ChipView]:
    chips = []
    if query.context is not None:
        chips.append(ChipView(f"context {query.context[:12]}", place.page(context=None)))
    if query.release is not None:
        chips.append(ChipView(f"release {query.release[:12]}", place.page(release=None)))
    for path, value in query.facts:
        rest = [each for each in place.params if each != ("fact", f"{path}={value}")]
        address = place.addresses.to(*place.path, params=rest)
        chips.append(ChipView(f"{fact_title(path)}: {value}", address))
    return chips


def _difference(difference: Difference, place: Place) -> DifferenceView:
    choices = []
    for each in difference.choices:
        if difference.fact in _OWN:
            params = changed(place.params, **{difference.fact: each.value})
        else:
            params = [*place.params, ("fact", f"{difference.fact}={each.value}")]
        fits = len(params[-1][1]) <= _LONGEST
        address = place.addresses.to(*place.path, params=params) if fits else None
        words = each.value.replace("_", " ") if difference.fact == "scenario" else each.value
        choices.append(ChoiceView(words or "(empty)", f"{each.results:,} runs", address))
    return DifferenceView(difference.title.capitalize(), tuple(choices))


def _context_links(place: Place) -> dict[str, Linker]:
    return {"context": lambda row: place.page(context=str(row["context"]))}


def _release_links(place: Place) -> dict[str, Linker]:
    return {"release": lambda row: place.addresses.release(str(row["release"]))}
