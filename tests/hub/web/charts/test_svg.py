"""SVG from pieces, and nothing but these."""

from __future__ import annotations

from markupsafe import Markup

from edgepack.hub.web.charts.svg import drawing, element, label, shortened
from tests.hub.web.reading import read_page


def test_texts_and_attributes_are_escaped() -> None:
    made = element("text", "<script>", Markup("<b/>"), style_class='"><script>', x=1.25, y=None)
    assert made == '<text class="&#34;&gt;&lt;script&gt;" x="1.2">&lt;script&gt;<b/></text>'


def test_a_drawing_names_its_title_and_its_words() -> None:
    page = read_page(str(drawing("A <title>", 'Words "of" it.', 10, 20, [label(1, 2, "x")])))
    (svg,) = page.all("svg")
    assert svg["role"] == "img"
    assert [each["id"] for name in ("title", "desc") for each in page.all(name)] == svg[
        "aria-labelledby"
    ].split()
    assert 'A <title>Words "of" it.x' in page.text


def test_two_drawings_of_the_same_title_have_ids_of_their_own() -> None:
    assert drawing("A", "one", 1, 1, [])[:200] != drawing("A", "two", 1, 1, [])[:200]


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
