from __future__ import annotations

import pytest

from edgepack.build.data.conditions import parse_condition


@pytest.mark.parametrize("text", ["Quantity", "Quantity >", "> 0", "Quantity ~ 3", "a > x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not COLUMN OP VALUE|needs a number"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "cell", "holds"),
    [
        ("Quantity > 0", "1", True),
        ("Quantity > 0", "0", False),
        ("Quantity >= 0", "0", True),
        ("Quantity < 2.5", "2", True),
        ("Quantity <= 1", "2", False),
        ("Quantity == 3", "3.0", True),
        ("Quantity != 3", "3.0", False),
        ("Quantity != 3", "three", True),
        ("Quantity > 0", "", False),
        ("page 2 (clothing model) == A13", "A13", True),
        ("Country != 'United Kingdom'", "France", True),
        ("Country == 'United Kingdom'", " United Kingdom ", True),
        ("Code == '007'", "7", False),
        ("Customer != ''", "", False),
        ("Customer != ''", "12", True),
    ],
)
def test_a_condition_holds_for_the_right_cells(text: str, cell: str, holds: bool) -> None:
    assert parse_condition(text).holds(cell) is holds


def test_a_condition_is_shown_as_it_can_be_typed() -> None:
    for text in ("Quantity > 0", "Customer != ''"):
        assert str(parse_condition(text)) == text
