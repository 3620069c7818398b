"""A device's page and its raw report as values for their templates. It is not aware of HTTP."""

from __future__ import annotations

import json
from typing import Any, Final

from edgepack.formats.canonical import parse_json
from edgepack.formats.errors import BundleError
from edgepack.hub.answers.device import DeviceAnswer
from edgepack.hub.answers.health import WORDS, Condition
from edgepack.hub.answers.table import Unit, format_cell
from edgepack.hub.answers.words import setup_words
from edgepack.hub.web.charts.over_time import device_charts
from edgepack.hub.web.views.forms import choice_field, form_view
from edgepack.hub.web.views.tables import Linker, Place, mark_of, table_view

_DAYS: Final = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"))


def device_view(answer: DeviceAnswer, place: Place) -> dict[str, Any]:
    """Prepares a device's page.

    Args:
        answer: The device over time.
        place: Where the page is.

    Returns:
        The values of `device.html`.
    """
    device = answer.device
    days = next((value for name, value in place.params if name == "days"), None)
    tables = (answer.reports, answer.runs, answer.history)
    return {
        "title": device.name,
        "place": "device",
        "mark": mark_of(device.condition),
        "condition": device.condition.replace("_", " "),
        "words": WORDS[device.condition],
        "facts": _facts(answer),
        "form": form_view(
            "How far back", place, [choice_field("days", "Look back", days, _DAYS, "everything")]
        ),
        "charts": device_charts(answer),
        "note": "There are more reports than are shown." if answer.cut else "",
        "tables": [
            table_view(each, place, links=_links(device.name, place), empty="None in this time.")
            for each in tables
            if each.rows or each is answer.reports
        ],
    }


def _facts(answer: DeviceAnswer) -> list[tuple[str, str]]:
    device = answer.device
    facts = [
        ("Label", device.label),
        ("Box", device.box or ""),
        ("Grade", device.grade or ""),
        ("Last seen", _moment(device.seen_ms)),
        ("Enrolled", _moment(device.enrolled_ms)),
        ("Reports", f"{device.reports:,}"),
    ]
    if device.release is not None:
        release = device.release
        facts.append(("Release", f"{release.model} {release.version} for {release.target}"))
    if device.setup is not None:
        facts.append(("Runs", setup_words(device.setup)))
    if device.silent and device.condition is not Condition.SILENT:
        facts.append(("Silent", WORDS[Condition.SILENT]))
    if device.revoked_ms is not None:
        facts.append(("Revoked", _moment(device.revoked_ms)))
    return [(name, value) for name, value in facts if value]


def _moment(moment_ms: int | None) -> str:
    return "never" if moment_ms is None else format_cell(moment_ms, Unit.MOMENT_MS)


def _links(name: str, place: Place) -> dict[str, Linker]:
    addresses = place.addresses
    return {
        "report_id": lambda row: addresses.document(name, str(row["report_id"])),
        "version": lambda row: (
            addresses.release(str(row["release"])) if row.get("release") else None
        ),
        "release": lambda row: addresses.release(str(row["release"])),
    }


def document_view(name: str, report_id: str, document: bytes, place: Place) -> dict[str, Any]:
    """Prepares the page of a report as the device sent it.

    Args:
        name: The device.
        report_id: The report.
        document: Its bytes.
        place: Where the page is.

    Returns:
        The values of `document.html`.
    """
    return {
        "title": f"Report {report_id}",
        "place": "device",
        "device": name,
        "device_address": place.addresses.device(name),
        "raw_address": place.addresses.to("api", *place.api),
        "text": pretty(document),
    }


def pretty(document: bytes) -> str:
    """Writes JSON with a field on each line; what is no JSON comes as it is."""
    try:
        value = parse_json(document, what="the report")
    except BundleError:
        return document.decode("utf-8", "replace")
    return json.dumps(value, indent=2, ensure_ascii=False)
