"""Views as values: nothing, one row, texts that would run, and files without addresses."""

from __future__ import annotations

import pytest

from edgepack.hub.answers.table import Column, Table, Unit
from edgepack.hub.answers.trust import Standing
from edgepack.hub.web.addresses import Addresses
from edgepack.hub.web.rendering import fill
from edgepack.hub.web.views.forms import choice_field, form_view, text_field
from edgepack.hub.web.views.select import select_view
from edgepack.hub.web.views.tables import Place, mark_of, table_view

HERE = Place(Addresses(""), ("compare",), ("compare",), (("box", "<b>"), ("details", "1")))
NOWHERE = Place(Addresses(None), (), ())
COLUMNS = (
    Column("name", "Name"),
    Column("n", "N", Unit.NS),
    Column("more", "More", detail=True),
)


def _table(*rows: tuple[str | None, int | None, str | None]) -> Table:
    return Table("t", "T", COLUMNS, rows)


def test_an_empty_table_has_its_sentence_and_no_more_columns_to_offer() -> None:
    view = table_view(_table(), HERE, empty="Nothing.")
    assert (view.rows, view.empty) == ((), "Nothing.")
    assert [each.words for each in view.links] == ["CSV", "JSON"]


def test_details_are_shown_where_they_are_asked_for_and_in_a_file() -> None:
    brief = Place(Addresses(""), (), ("fleet",))
    assert len(table_view(_table(("a", 1, "b")), brief).columns) == 2
    assert len(table_view(_table(("a", 1, "b")), HERE).columns) == 3
    alone = table_view(_table(("a", 1, "b")), NOWHERE)
    assert (len(alone.columns), alone.links) == (3, ())


def test_a_cell_that_is_not_known_is_a_dash_and_leads_nowhere() -> None:
    view = table_view(_table((None, None, None)), HERE, links={"name": lambda row: "/x"})
    assert [each.text for each in view.rows[0]] == ["-", "-", "-"]
    assert view.rows[0][0].address is None
    assert view.rows[0][1].style == "n"


def test_a_hash_and_a_long_text_are_cut_and_whole_in_the_title() -> None:
    view = table_view(_table(("a" * 64, 0, "x" * 500)), HERE)
    name, zero, more = view.rows[0]
    assert (name.text, name.whole) == ("a" * 12, "a" * 64)
    assert zero.text == "0 ns"
    assert len(more.text) == 120
    assert more.whole == "x" * 500


def test_a_word_that_is_no_state_has_a_plain_mark() -> None:
    assert mark_of("<script>") == "plain"
    assert mark_of(Standing.TRUSTED) == "good"


@pytest.mark.parametrize("value", ["<script>", '" onload="', "\u202e", "x" * 300])
def test_a_chosen_value_that_is_no_choice_stays_chosen_as_text(value: str) -> None:
    field = choice_field("box", "Box", value, [("a", "A")], "any")
    assert field.choices == (("", "any"), ("a", "A"), (value, value))
    assert choice_field("box", "Box", None, [], "any").choices == (("", "any"),)


def test_a_form_keeps_what_it_does_not_ask_and_has_no_address_in_a_file() -> None:
    form = form_view("F", HERE, [text_field("box", "Box", "<b>")])
    assert form.hidden == (("details", "1"),)
    assert form.clear == "/compare"
    assert form_view("F", HERE, [], drop=("details", "box")).hidden == ()
    alone = form_view("F", NOWHERE, [text_field("box", "Box", None)])
    assert (alone.address, alone.clear) == (None, None)


def test_a_choice_without_reports_or_a_target_still_has_a_page() -> None:
    values = select_view(None, (), HERE)
    assert (values["lead"], values["tables"]) == ("There are no reports yet.", ())
    assert (
        fill(
            "select.html",
            layout="alone.html",
            here=NOWHERE.addresses,
            style="",
            source="<s>",
            made="",
            **values,
        ).count("<s>")
        == 0
    )
