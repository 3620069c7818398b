"""Filling templates."""

from __future__ import annotations

import jinja2
import pytest

from edgepack.hub.web.rendering import STATIC, error_page, fill, login_page
from tests.hub.web.reading import nothing_runs, read_page


def test_signing_in_asks_for_a_token_and_says_what_was_wrong() -> None:
    page = read_page(bytes(login_page(None).body).decode())
    nothing_runs(page)
    (form,) = page.all("form")
    # To its own address, which says where to go from there.
    assert (form["method"], form.get("action")) == ("post", None)
    assert page.all("input")[0]["name"] == "token"
    response = login_page("<b>no</b>", status=401)
    assert response.status_code == 401
    page = read_page(bytes(response.body).decode())
    nothing_runs(page)
    assert "<b>no</b>" in page.text


def test_an_error_has_its_status_and_its_words_as_text() -> None:
    response = error_page(404, "No such <thing>", "There is no '<i>'.")
    assert response.status_code == 404
    page = read_page(bytes(response.body).decode())
    nothing_runs(page)
    assert page.headings == ["No such <thing>"]


def test_a_value_that_a_template_names_and_nobody_gave_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill("error.html", layout="page.html")


def test_styles_and_script_are_light_and_ask_nobody_else() -> None:
    for name, most in (("hub.css", 16_000), ("hub.js", 1_000), ("hub.svg", 1_000)):
        text = (STATIC / name).read_text(encoding="utf-8")
        assert len(text) < most
        assert "url(" not in text
        assert "import" not in text
        assert text.count("http") == text.count("http://www.w3.org/2000/svg")
        # The page by itself holds the styles as they are.
        assert name != "hub.css" or "<" not in text
