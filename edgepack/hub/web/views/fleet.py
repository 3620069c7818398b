"""The fleet's page as values for its template. It is not aware of HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edgepack.hub.answers.fleet import MAX_PAGE_SIZE, Facet, FleetAnswer
from edgepack.hub.answers.health import Condition
from edgepack.hub.web.addresses import Addresses
from edgepack.hub.web.views.forms import choice_field, form_view, text_field
from edgepack.hub.web.views.tables import Place, mark_of, table_view

#: A field with more choices is no help; the others can be had by address.
_MOST_CHOICES: Final = 200
_WORDS: Final = {
    "condition": "Any condition",
    "target": "Any target",
    "release": "Any release",
    "grade": "Any grade",
    "box": "Any kind of box",
}


@dataclass(frozen=True, slots=True)
class TileView:
    """How many devices are in one condition, and where they are shown."""

    mark: str
    devices: str
    name: str
    words: str
    address: str | None
    chosen: bool


def fleet_view(answer: FleetAnswer, place: Place) -> dict[str, Any]:
    """Prepares the fleet's page.

    Args:
        answer: The fleet.
        place: Where the page is.

    Returns:
        The values of `fleet.html`.
    """
    query = answer.query
    fields = [_field(each) for each in answer.facets]
    fields.append(text_field("text", "Name or label has", query.text))
    before = max(query.offset - query.limit, 0)
    after = query.offset + query.limit
    shown = len(answer.devices)
    return {
        "title": "Fleet",
        "place": "fleet",
        "summary": _summary(answer, shown),
        "tiles": _tiles(answer, place),
        "form": form_view("Which devices", place, fields, drop=("offset",)),
        "table": table_view(
            answer.table,
            place,
            links=fleet_links(place.addresses),
            exports={"offset": None, "limit": MAX_PAGE_SIZE},
            empty="No device fits." if answer.total else "No device has enrolled yet.",
        ),
        "before": place.page(offset=before or None) if query.offset else None,
        "after": place.page(offset=after) if after < answer.matching else None,
    }


def fleet_links(addresses: Addresses) -> dict[str, Any]:
    """Returns where the cells of the fleet's table lead."""
    return {
        "device": lambda row: addresses.device(str(row["device"])),
        "version": lambda row: addresses.release(str(row["release"])),
        "release": lambda row: addresses.release(str(row["release"])),
    }


def _summary(answer: FleetAnswer, shown: int) -> str:
    if not answer.total:
        return "No devices yet."
    first = answer.query.offset + 1
    fit = f"{answer.matching:,} of {answer.total:,} devices fit"
    if not shown:
        return f"{fit}; none of them is here."
    return f"{fit}; here are {first:,} to {first + shown - 1:,}, the worst of all first."


def _field(facet: Facet) -> Any:
    chosen = next((each.value for each in facet.choices if each.chosen), None)
    choices = [
        (each.value, f"{_short(facet.key, each.value, each.title)} ({each.devices:,})")
        for each in facet.choices[:_MOST_CHOICES]
    ]
    return choice_field(facet.key, facet.title, chosen, choices, _WORDS[facet.key])


def _short(key: str, value: str, title: str) -> str:
    return value.replace("_", " ") if key == "condition" else title


def _tiles(answer: FleetAnswer, place: Place) -> tuple[TileView, ...]:
    conditions = next(each for each in answer.facets if each.key == "condition")
    return tuple(
        TileView(
            mark=mark_of(each.value),
            devices=f"{each.devices:,}",
            name=each.value.replace("_", " "),
            words=each.title if each.value in list(Condition) else "",
            address=place.page(condition=None if each.chosen else each.value, offset=None),
            chosen=each.chosen,
        )
        for each in conditions.choices
    )
