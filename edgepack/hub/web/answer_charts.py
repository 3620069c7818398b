"""The charts of an answer on their way from a hub to a page by itself.

A hub sends them as SVG. Who gets them rebuilds each from the elements and attributes that charts
here have, so that a page never holds what another program wrote. It is not aware of HTTP. Used by
the API and the page by itself.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Final

from markupsafe import Markup

from edgepack.formats.errors import HubError
from edgepack.hub.answers.compare import CompareAnswer
from edgepack.hub.answers.device import DeviceAnswer
from edgepack.hub.answers.releases import ReleaseAnswer
from edgepack.hub.answers.sheet import Answer, Chart
from edgepack.hub.web.charts.over_time import device_charts
from edgepack.hub.web.charts.svg import Drawn, element
from edgepack.hub.web.views.compare import compare_charts
from edgepack.hub.web.views.releases import release_charts

#: What the charts of `edgepack.hub.web.charts` are made of.
_ELEMENTS: Final = frozenset(
    {"svg", "title", "desc", "line", "rect", "circle", "polyline", "path", "text"}
)
_ATTRIBUTES: Final = frozenset(
    {"id", "class", "role", "aria-labelledby", "viewBox", "width", "height", "fill", "points"}
    | {"x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "d", "text-anchor"}
)
_SVG: Final = "{http://www.w3.org/2000/svg}"
#: A box may be called what no XML can hold. Source: XML 1.0, 2.2.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: A chart's elements lie side by side in its `svg`.
_DEEPEST: Final = 2


def charts_of(answer: Answer) -> tuple[Chart, ...]:
    """Draws the charts that an answer's page has, to be sent.

    Args:
        answer: The answer.

    Returns:
        The charts in the page's order; none where its page has none.
    """
    drawn: tuple[Drawn, ...] = ()
    if isinstance(answer, DeviceAnswer):
        drawn = device_charts(answer)
    elif isinstance(answer, CompareAnswer):
        drawn = compare_charts(answer)
    elif isinstance(answer, ReleaseAnswer):
        drawn = release_charts(answer)
    return tuple(Chart(each.title, str(each.svg), each.legend, each.note) for each in drawn)


def redrawn(chart: Chart) -> Drawn:
    """Rebuilds a chart that another program sent.

    Args:
        chart: The chart.

    Returns:
        The same chart, of known elements and attributes only.

    Raises:
        HubError: Its SVG is none, or holds something else.
    """
    # A chart declares nothing, and what declares entities can be a trap.
    if "<!" in chart.svg or "<?" in chart.svg:
        raise HubError(f"the chart '{chart.title:.80}' declares something")
    try:
        root = ET.fromstring(_NOT_XML.sub("?", chart.svg))  # noqa: S314 - nothing is declared in it
    except (ET.ParseError, ValueError) as error:
        raise HubError(f"the chart '{chart.title:.80}' cannot be read: {error}") from error
    if root.tag != f"{_SVG}svg":
        raise HubError(f"the chart '{chart.title:.80}' is no SVG")
    return Drawn(chart.title, _rebuilt(root, chart.title, 1), chart.legend, chart.note)


def _rebuilt(found: ET.Element, title: str, depth: int) -> Markup:
    name = found.tag.removeprefix(_SVG)
    unknown = [name] if name not in _ELEMENTS else sorted(set(found.keys()) - _ATTRIBUTES)
    if unknown or depth > _DEEPEST:
        raise HubError(f"the chart '{title:.80}' holds '{(unknown or [name])[0]:.40}'")
    children = [found.text or ""]
    for each in found:
        children += [_rebuilt(each, title, depth + 1), each.tail or ""]
    names = {"class": "style_class", "viewBox": "view_box"}
    attributes = {"xmlns": _SVG[1:-1]} if depth == 1 else {}
    attributes |= {names.get(key, key.replace("-", "_")): value for key, value in found.items()}
    return element(name, *children, **attributes)
