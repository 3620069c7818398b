"""What was not measured alike is not compared, and the difference is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgepack.hub.answers.refusing import (
    FactChoice,
    differences_of,
    has_facts,
    refuse_nothing,
    refuse_several,
)
from edgepack.hub.answers.rows import ContextRow
from tests.hub.answers.rows import CONTEXT


def _context(number: int, results: int, **facts: Any) -> ContextRow:
    digest = f"{number:064d}"
    return replace(CONTEXT, id=number, digest=digest, facts=facts, results=results)


def test_only_what_differs_is_named_with_how_much_is_known_of_each() -> None:
    contexts = [
        _context(1, 5, method={"duration": "quick", "seed": 1}, cores=4),
        _context(2, 20, method={"duration": "standard", "seed": 1}, cores=4),
        _context(3, 30, method={"duration": "quick", "seed": 1}, cores=4),
    ]
    (difference,) = differences_of(contexts)
    assert (difference.fact, difference.title) == ("method.duration", "method, duration")
    assert difference.choices == (FactChoice("quick", 2, 35), FactChoice("standard", 1, 20))


def test_a_fact_that_one_context_lacks_is_a_difference() -> None:
    (difference,) = differences_of([_context(1, 1), _context(2, 1, gpu="L4")])
    assert [choice.value for choice in difference.choices] == ["-", "L4"]


def test_null_and_false_and_lists_can_be_told_apart() -> None:
    contexts = [_context(1, 1, a=None, b=[1]), _context(2, 1, a=False, b=[2])]
    values = {each.fact: {c.value for c in each.choices} for each in differences_of(contexts)}
    assert values == {"a": {"-", "no"}, "b": {"[1]", "[2]"}}


def test_a_refusal_says_what_differs_and_lists_the_contexts_most_known_first() -> None:
    one = replace(_context(1, 5), box="Raspberry Pi 4")
    other = replace(_context(2, 50), box="Raspberry Pi 5")
    refusal = refuse_several([one, other])
    assert "2 contexts, which differ in kind of box" in refusal.reason
    assert [each.id for each in refusal.contexts] == [2, 1]
    assert refusal.table.records()[0] == {
        "context": other.digest,
        "box": "Raspberry Pi 5",
        "box_key": "pi4",
        "results": 50,
    }


def test_what_a_box_is_made_of_is_named_only_where_its_words_do_not_tell() -> None:
    one = replace(_context(1, 5, cores=4, arch="aarch64"), box="Pi 4, 4 cores")
    other = replace(_context(2, 5, cores=2, arch="aarch64"), box="Pi 4, 2 cores")
    assert [each.fact for each in differences_of([one, other])] == ["box"]
    alike = replace(_context(3, 5, cores=4, arch="armv7l"), box="Pi 4, 4 cores")
    assert [each.fact for each in differences_of([one, alike])] == ["arch"]


def test_a_choice_that_was_offered_narrows_to_its_contexts() -> None:
    contexts = [_context(1, 1, governor="performance"), _context(2, 1, governor=None)]
    (difference,) = differences_of(contexts)
    for choice in difference.choices:
        left = [each for each in contexts if has_facts(each, [(difference.fact, choice.value)])]
        assert len(left) == choice.contexts == 1


def test_of_very_many_contexts_those_are_told_that_most_is_known_of() -> None:
    contexts = [_context(i, i, cores=i) for i in range(1, 1001)]
    refusal = refuse_several(contexts)
    assert "1000 contexts" in refusal.reason
    assert [each.results for each in refusal.contexts] == list(range(1000, 800, -1))
    assert len(refusal.table) == 200
    assert [each.results for each in refusal.differences[0].choices] == list(range(1000, 950, -1))


def test_nothing_to_compare_is_said_in_two_ways() -> None:
    assert refuse_nothing(selected=True).reason == "no report fits the selection"
    assert refuse_nothing(selected=False).reason == "there are no reports yet"
