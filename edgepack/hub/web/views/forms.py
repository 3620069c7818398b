"""Filters as forms that only change the address. Used by the other views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgepack.hub.web.views.tables import Place


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field; `choices` are values with their words, None for a field of text.

    `mode` is the keyboard that a phone shows (HTML's `inputmode`), or empty.
    """

    name: str
    title: str
    value: str
    choices: tuple[tuple[str, str], ...] | None = None
    mode: str = ""


@dataclass(frozen=True, slots=True)
class FormView:
    """A form. `hidden` is what it keeps of the address, `clear` leads to the page without it."""

    title: str
    address: str | None
    fields: tuple[FieldView, ...]
    hidden: tuple[tuple[str, str], ...] = ()
    clear: str | None = None


def form_view(
    title: str, place: Place, fields: Sequence[FieldView], *, drop: Iterable[str] = ()
) -> FormView:
    """Makes a form of filters.

    Args:
        title: What it is for, in words.
        place: Where the page is.
        fields: Its fields.
        drop: Parameters that a new choice does not keep, beside those of the fields.

    Returns:
        The form.
    """
    own = {each.name for each in fields} | set(drop)
    asked = any(value for name, value in place.params if name in own)
    return FormView(
        title=title,
        address=place.addresses.to(*(place.path or ("",))),
        fields=tuple(fields),
        hidden=tuple((name, value) for name, value in place.params if name not in own),
        clear=place.addresses.to(*(place.path or ("",))) if asked or place.params else None,
    )


def choice_field(
    name: str, title: str, value: str | None, choices: Iterable[tuple[str, str]], every: str
) -> FieldView:
    """Makes a field of choices with one for everything.

    Args:
        name: Of the parameter.
        title: For people.
        value: What is chosen; None: everything.
        choices: Values with their words.
        every: The words for everything.

    Returns:
        The field; a chosen value that is no choice is added.
    """
    known = [("", every), *choices]
    if value and all(value != each for each, _ in known):
        known.append((value, value))
    return FieldView(name, title, value or "", tuple(known))


def text_field(name: str, title: str, value: str | None, *, mode: str = "") -> FieldView:
    """Makes a field of text; `mode` as in `FieldView`."""
    return FieldView(name, title, value or "", mode=mode)
