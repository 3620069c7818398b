"""The releases' pages as values for their templates. It is not aware of HTTP."""

from __future__ import annotations

from typing import Any

from edgepack.hub.answers.releases import ReleaseAnswer, ReleasesAnswer
from edgepack.hub.answers.table import format_moment
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.web.charts.changing import forest_chart
from edgepack.hub.web.charts.svg import Drawn
from edgepack.hub.web.views.forms import choice_field, form_view, text_field
from edgepack.hub.web.views.tables import Place, table_view


def releases_view(answer: ReleasesAnswer, place: Place) -> dict[str, Any]:
    """Prepares the list of releases.

    Args:
        answer: The releases.
        place: Where the page is.

    Returns:
        The values of `releases.html`.
    """
    asked = dict(place.params)
    fields = [
        text_field("model", "Model", asked.get("model")),
        text_field("target", "Target", asked.get("target")),
    ]
    addresses = place.addresses
    return {
        "title": "Releases",
        "place": "releases",
        "form": form_view("Which releases", place, fields),
        "table": table_view(
            answer.table,
            place,
            links={
                "version": lambda row: addresses.release(str(row["release"])),
                "release": lambda row: addresses.release(str(row["release"])),
            },
            empty="No release was reported.",
        ),
    }


def release_view(answer: ReleaseAnswer, place: Place) -> dict[str, Any]:
    """Prepares a release's page.

    Args:
        answer: The release against an earlier one.
        place: Where the page is.

    Returns:
        The values of `release.html`.
    """
    release, before = answer.release, answer.before
    choices = [
        (each.bundle_id, f"{each.version}, since {format_moment(each.first_seen_ms)[:10]}")
        for each in answer.choices
    ]
    chosen = None if before is None else before.bundle_id
    against = f" against {before.version}" if before is not None else ""
    return {
        "title": f"{release.model} {release.version} for {release.target}{against}",
        "place": "releases",
        "summary": f"{answer.summary[:1].upper()}{answer.summary[1:]}.",
        "facts": [
            ("First report", format_moment(release.first_seen_ms)),
            ("With a run of it", boxes_words(answer.boxes_after)),
            ("With runs of both", boxes_words(answer.boxes_both)),
            ("Architecture", release.architecture),
            ("Release id", release.bundle_id),
        ],
        "form": form_view(
            "What it is held against",
            place,
            [choice_field("before", "Against", chosen, choices, "the one most boxes had")],
        ),
        "charts": release_charts(answer),
        "tables": [
            table_view(each, place, links=_links(place), empty="No box has runs of both.")
            for each in (answer.table, answer.doubtful_table)
            if each.rows or each is answer.table
        ],
    }


def release_charts(answer: ReleaseAnswer) -> tuple[Drawn, ...]:
    """Draws what a release changed; none where nothing has an interval."""
    charts = (
        forest_chart(answer.changes, "Change on the same boxes, with 99 % intervals"),
        forest_chart(answer.doubtful, "The same of runs that are not trusted"),
    )
    return tuple(each for each in charts if each is not None)


def _links(place: Place) -> dict[str, Any]:
    return {"context": lambda row: place.addresses.to("compare", params=_context(row))}


def _context(row: Any) -> list[tuple[str, str]]:
    return [("context", str(row["context"]))]
