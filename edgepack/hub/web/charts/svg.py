"""Makes SVG piece by piece; every attribute and text is escaped.

It is not aware of what is drawn. Used by the charts beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished chart.

    Attributes:
        title: What it shows, in words; the caption.
        svg: The drawing, with a title and a description inside.
        legend: Style classes with what they stand for; empty where nothing needs it.
        note: A sentence below it, or empty.
    """

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def element(name: str, *children: Markup | str, **attributes: str | float | None) -> Markup:
    """Makes an element.

    Args:
        name: Its name.
        children: Elements, or texts that are escaped.
        attributes: `style_class` becomes `class`, other underscores become dashes; None is left
            out, numbers are written with one decimal.

    Returns:
        The element.
    """
    parts = [Markup("<{}").format(name)]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = "class" if key == "style_class" else key.replace("_", "-")
        shown = "viewBox" if key == "view_box" else shown
        text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        parts.append(Markup(' {}="{}"').format(shown, text))
    parts.append(Markup(">"))
    parts += [escape(child) for child in children]
    parts.append(Markup("</{}>").format(name))
    return Markup("").join(parts)


def drawing(title: str, text: str, width: float, height: float, pieces: Iterable[Markup]) -> Markup:
    """Puts pieces into a drawing that says in words what it shows.

    Args:
        title: Its name.
        text: What a person who does not see it should know.
        width: Of the drawing's own units.
        height: The same.
        pieces: What is in it.

    Returns:
        The drawing.
    """
    key = hashlib.sha256(f"{title}\0{text}".encode("utf-8", "replace")).hexdigest()[:10]
    return element(
        "svg",
        element("title", title, id=f"c{key}t"),
        element("desc", text, id=f"c{key}d"),
        *pieces,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        aria_labelledby=f"c{key}t c{key}d",
        view_box=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
    )


def polyline(points: Sequence[tuple[float, float]], style: str) -> Markup:
    """Makes a line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element("polyline", points=path, fill="none", style_class=style)


def label(x: float, y: float, text: str, *, anchor: str = "start", style: str = "label") -> Markup:
    """Makes a text; `anchor` is `start`, `middle` or `end`."""
    return element("text", text, x=x, y=y, text_anchor=anchor, style_class=style)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """Makes a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, style_class=style)


def shortened(text: str, characters: int) -> str:
    """Cuts a text that has no room."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
