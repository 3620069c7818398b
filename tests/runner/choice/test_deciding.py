from __future__ import annotations

import pytest

from edgepack.formats.choice import ChoiceRow
from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions, ExecutionMode
from edgepack.runner.choice.deciding import decide, spread_of


def _row(
    variant: str,
    median_ns: int | None,
    threads: int = 1,
    *,
    spread: float | None = 0.01,
    spinning: bool = False,
    problem: str | None = None,
) -> ChoiceRow:
    options = EngineOptions(threads, spinning=spinning)
    return ChoiceRow(variant, options, (), median_ns, spread, problem)


def test_without_one_sound_row_the_error_names_every_fault() -> None:
    rows = [_row("a", None, problem="no such op"), _row("b", None, problem="crashed with SIGILL")]
    with pytest.raises(DeviceError, match="no candidate") as raised:
        decide(rows)
    assert "a with 1 thread: no such op" in raised.value.message
    assert "b with 1 thread: crashed with SIGILL" in raised.value.message


def test_a_row_with_a_problem_never_wins() -> None:
    wrong = _row("a", 1, problem="answers wrongly on this box")
    decision = decide([wrong, _row("b", 100_000)])
    assert decision.row.variant == "b"
    assert decision.reason == "the only one that runs and answers rightly; 1 of 2 are out"


@pytest.mark.parametrize(
    ("other", "chosen"),
    [
        (_row("b", 96_000), "a"),
        (_row("b", 94_000), "b"),
        (_row("b", 94_000, spread=0.2), "a"),
        (_row("b", 94_000, spread=None), "b"),
        (_row("b", 99_000, threads=2), "a"),
        (_row("b", 60_000, threads=2), "b"),
        (_row("b", 99_000, spinning=True), "a"),
        (_row("b", 130_000), "a"),
    ],
)
def test_the_simpler_stays_unless_another_is_better_by_more_than_can_be_doubted(
    other: ChoiceRow, chosen: str
) -> None:
    assert decide([_row("a", 100_000), other]).row.variant == chosen


def test_the_spread_of_the_simpler_counts_as_well() -> None:
    assert decide([_row("a", 100_000, spread=0.3), _row("b", 90_000, threads=4)]).row.variant == "a"


def test_fewer_threads_come_before_an_earlier_candidate() -> None:
    rows = [_row("a", 100_000, threads=2), _row("b", 101_000, threads=1)]
    assert decide(rows).row.variant == "b"


def test_of_equals_the_bundles_first_is_taken() -> None:
    assert decide([_row("a", 101_000), _row("b", 100_000)]).row.variant == "a"
    parallel = ChoiceRow("c", EngineOptions(1, ExecutionMode.PARALLEL), (), 100_000, 0.0)
    assert decide([parallel, _row("b", 100_000)]).row.variant == "b"


def test_the_reason_has_the_numbers() -> None:
    rows = [_row("a", 100_000), _row("b", 98_000, threads=2)]
    assert decide(rows).reason == (
        "the simplest of 2 as fast as the fastest: 100 us; b with 2 threads takes 98 us, within 5 %"
    )
    assert decide([_row("a", 100_000), _row("b", 50_000)]).reason == "the fastest of 2: 50 us"


def test_the_spread_is_of_the_middle_half_of_the_rounds() -> None:
    assert spread_of([100, 110, 90, 100, 5000]) == pytest.approx(0.1)
    assert spread_of([100]) is None
    assert spread_of([]) is None
    assert spread_of([0, 0, 0]) is None
