"""An answer as one HTML file that needs nothing else: no script, no link, no hub.

It is not aware of HTTP and of the store. Used by the command line.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from edgepack.hub.answers.compare import CompareAnswer
from edgepack.hub.answers.device import DeviceAnswer
from edgepack.hub.answers.fleet import FleetAnswer
from edgepack.hub.answers.releases import ReleaseAnswer, ReleasesAnswer
from edgepack.hub.answers.selecting import SelectAnswer
from edgepack.hub.answers.sheet import Answer, Sheet
from edgepack.hub.answers.table import format_moment
from edgepack.hub.web.addresses import Addresses
from edgepack.hub.web.answer_charts import redrawn
from edgepack.hub.web.rendering import STATIC, fill
from edgepack.hub.web.views.compare import compare_view
from edgepack.hub.web.views.device import device_view
from edgepack.hub.web.views.fleet import fleet_view
from edgepack.hub.web.views.releases import release_view, releases_view
from edgepack.hub.web.views.select import select_view
from edgepack.hub.web.views.tables import Place, table_view

_NOWHERE = Place(Addresses(None), (), ())


def standalone_report(answer: Answer | Sheet, *, source: str, made_ms: int) -> bytes:
    """Writes an answer as a page by itself.

    Args:
        answer: The answer, or a sheet with its charts as a hub answers over HTTP.
        source: Where it comes from: an address or a file.
        made_ms: When it was asked.

    Returns:
        HTML, UTF-8.

    Raises:
        HubError: A chart of a sheet is none.
    """
    template, values = _view(answer)
    # Our own style sheet; it holds no `<`.
    style = Markup((STATIC / "hub.css").read_text(encoding="utf-8"))  # noqa: S704
    text = fill(
        template,
        layout="alone.html",
        here=_NOWHERE.addresses,
        style=style,
        source=source,
        made=format_moment(made_ms),
        **values,
    )
    # A name may hold half a character; no file of UTF-8 can.
    return text.encode("utf-8", "replace")


def _view(answer: Answer | Sheet) -> tuple[str, dict[str, Any]]:
    found: tuple[str, dict[str, Any]]
    match answer:
        case FleetAnswer():
            found = "fleet.html", fleet_view(answer, _NOWHERE)
        case DeviceAnswer():
            found = "device.html", device_view(answer, _NOWHERE)
        case CompareAnswer():
            found = "compare.html", compare_view(answer, _NOWHERE)
        case ReleasesAnswer():
            found = "releases.html", releases_view(answer, _NOWHERE)
        case ReleaseAnswer():
            found = "release.html", release_view(answer, _NOWHERE)
        case SelectAnswer():
            found = "select.html", select_view(answer, (), _NOWHERE)
        case Sheet():
            found = "sheet.html", _sheet_view(answer)
    return found


def _sheet_view(sheet: Sheet) -> dict[str, Any]:
    return {
        "title": sheet.title,
        "place": "sheet",
        "lines": sheet.lines,
        "charts": [redrawn(each) for each in sheet.charts or ()],
        "tables": [table_view(each, _NOWHERE) for each in sheet.tables],
    }
