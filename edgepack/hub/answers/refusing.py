"""Refuses to compare what was not measured alike, and says what differs.

It is not aware of the store. Used by the comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.hub.answers.rows import ContextRow
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.words import fact_title, flat_facts


@dataclass(frozen=True, slots=True)
class FactChoice:
    """One value of a fact that differs: in how many contexts, with how many newest runs."""

    value: str
    contexts: int
    results: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that is not the same in all selected contexts; the value with most runs first.

    `fact` is its path, such as `box` or `method.duration`; `title` the same for people.
    """

    fact: str
    title: str
    choices: tuple[FactChoice, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a selection is not compared.

    Attributes:
        reason: In words.
        differences: What differs and what one can narrow to; empty where nothing was selected.
        contexts: The selected contexts, the one with most runs first, at most 200.
        table: The contexts as a table.
    """

    reason: str
    differences: tuple[Difference, ...]
    contexts: tuple[ContextRow, ...]
    table: Table


#: A fact that one of two contexts does not have at all.
_ABSENT: Final = "-"
#: What a kind of box is made of; where the box already tells two contexts apart these say nothing.
_OF_THE_BOX: Final = frozenset(
    {"arch", "board", "cpu", "cores", "memory_gib", "gpu", "virtualised", "emulated"}
)
#: A fleet with more of them is told the ones that most is known of.
_MOST_CONTEXTS: Final = 200
_MOST_CHOICES: Final = 50
#: Named in a refusal's sentence; the others are in its list.
_NAMED: Final = 4


def refuse_several(contexts: Sequence[ContextRow]) -> Refusal:
    """Explains why contexts are not compared with each other.

    Args:
        contexts: At least two, with `results` counted.

    Returns:
        What differs between them, and how one can narrow to one.
    """
    ordered = sorted(contexts, key=lambda each: (-(each.results or 0), each.digest))
    differences = differences_of(ordered)
    named = [each.title for each in differences[:_NAMED]]
    more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    reason = (
        f"the selection spans {len(ordered)} contexts, which differ in {', '.join(named)}{more}; "
        "times measured on or in different ways are not compared"
    )
    shown = tuple(ordered[:_MOST_CONTEXTS])
    return Refusal(reason, differences, shown, _table(shown, differences))


def refuse_nothing(selected: bool) -> Refusal:
    """Explains that there is nothing to compare; `selected`: something was asked for."""
    reason = "no report fits the selection" if selected else "there are no reports yet"
    return Refusal(reason, (), (), _table((), ()))


def differences_of(contexts: Sequence[ContextRow]) -> tuple[Difference, ...]:
    """Finds the facts that are not the same in all contexts.

    Args:
        contexts: With `results` counted.

    Returns:
        The facts; scenario, model and box first.
    """
    flat = [_facts(each) for each in contexts]
    paths = [
        path
        for path in dict.fromkeys(path for facts in flat for path in facts)
        if path not in _OF_THE_BOX or not _is_told_by_the_box(path, flat)
    ]
    differences = []
    for path in paths:
        values: Counter[str] = Counter()
        results: Counter[str] = Counter()
        for context, facts in zip(contexts, flat, strict=True):
            value = facts.get(path, _ABSENT)
            values[value] += 1
            results[value] += context.results or 0
        if len(values) > 1:
            ordered = sorted(values, key=lambda value: (-results[value], value))
            choices = tuple(
                FactChoice(each, values[each], results[each]) for each in ordered[:_MOST_CHOICES]
            )
            differences.append(Difference(path, fact_title(path), choices))
    return tuple(differences)


def has_facts(context: ContextRow, wanted: Sequence[tuple[str, str]]) -> bool:
    """Says whether a context has all of some facts, as a `Difference` names them."""
    facts = _facts(context)
    return all(facts.get(path, _ABSENT) == value for path, value in wanted)


def _is_told_by_the_box(path: str, flat: Sequence[Mapping[str, str]]) -> bool:
    by_box: dict[str, set[str]] = {}
    for facts in flat:
        by_box.setdefault(facts["box"], set()).add(facts.get(path, _ABSENT))
    return all(len(values) == 1 for values in by_box.values())


def _facts(context: ContextRow) -> dict[str, str]:
    first = {"scenario": context.scenario, "model": context.model, "box": context.box}
    return {**first, **flat_facts(context.facts)}


def _table(contexts: Sequence[ContextRow], differences: Sequence[Difference]) -> Table:
    columns = (
        Column("context", "Context"),
        *(Column(each.fact, each.title.capitalize()) for each in differences),
        Column("box_key", "Box key", help="Names the kind of box in a question"),
        Column("results", "Newest runs", Unit.COUNT),
    )
    records: list[dict[str, Cell]] = []
    for context in contexts:
        facts = _facts(context)
        differing = {each.fact: facts.get(each.fact, _ABSENT) for each in differences}
        records.append(
            {
                **differing,
                "context": context.digest,
                "box_key": context.box_key,
                "results": context.results,
            }
        )
    return make_table("contexts", "Contexts", columns, records)
