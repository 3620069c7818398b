"""Over all kinds of boxes: what fits most, and where they differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepack.formats.evidence import Limits, parse_evidence
from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.rows import ContextRow, StandingRow
from edgepack.hub.answers.selecting import (
    SelectAnswer,
    SelectQuery,
    SelectRows,
    main_contexts,
    select_answer,
)
from edgepack.hub.answers.trust import Standing
from tests.hub.answers.rows import CONTEXT, many, setup

PI4 = CONTEXT
PI5 = replace(CONTEXT, id=2, digest="5" * 64, box="Raspberry Pi 5", box_key="pi5")
SETUPS = {1: setup(1, "tflite-fp32"), 2: setup(2, "tflite-dynamic-int8", size_bytes=100)}


def _select(
    *standing: tuple[ContextRow, list[StandingRow]],
    limits: Limits | None = None,
    left_out: int = 0,
) -> SelectAnswer:
    rows = SelectRows(
        model="session",
        models=["session"],
        setups=SETUPS,
        contexts=[each for each, _ in standing],
        standing={each.id: StandingColumns.of(found) for each, found in standing},
        left_out=left_out,
    )
    query = SelectQuery("arm64", limits=limits or Limits())
    return select_answer(query, rows, now_ms=1_700_000_000_000, source="hub.sqlite")


def test_one_kind_of_box_speaks_for_itself() -> None:
    answer = _select((PI4, [*many(1, [200] * 20), *many(2, [100] * 20)])).evidence
    assert answer.settled
    assert answer.reason.startswith("tflite-dynamic-int8 on litert is the fastest: 100 ns")
    assert [each.variant for each in answer.picks] == ["tflite-dynamic-int8", "tflite-fp32"]
    assert answer.picks[0].relative == 1.0
    assert answer.picks[1].relative == pytest.approx(2.0)
    assert (answer.created, answer.model) == ("2023-11-14T22:13:20Z", "session")


def test_kinds_that_agree_settle_it_together() -> None:
    answer = _select(
        (PI4, [*many(1, [200] * 20), *many(2, [100] * 20)]),
        (PI5, [*many(1, [90] * 10), *many(2, [50] * 10)]),
    ).evidence
    assert answer.settled
    best = answer.picks[0]
    assert (best.variant, best.relative, best.boxes, best.kinds) == (
        "tflite-dynamic-int8", 1.0, 30, 2,
    )  # fmt: skip
    assert best.p50_ns == 100
    # The geometric mean of twenty times 2.0 and ten times 1.8: the Pi 4 has twenty boxes.
    assert answer.picks[1].relative == pytest.approx(1.931, abs=0.001)


def test_a_kind_of_box_weighs_the_same_for_a_variant_that_few_of_its_boxes_have() -> None:
    # fp32 is three times as slow on the Pi 5, which is half of the fleet.
    answer = _select(
        (PI4, [*many(1, [100] * 92, first_device=100), *many(2, [120] * 8)]),
        (PI5, [*many(1, [300] * 8, first_device=300), *many(2, [100] * 92, first_device=400)]),
    ).evidence
    assert [each.variant for each in answer.picks] == ["tflite-dynamic-int8", "tflite-fp32"]
    assert answer.picks[0].relative == pytest.approx(1.2**0.5)
    assert answer.picks[1].relative == pytest.approx(3**0.5)


def test_kinds_that_differ_are_told_and_the_most_boxes_decide() -> None:
    answer = _select(
        (PI4, [*many(1, [200] * 30), *many(2, [100] * 30)]),
        (PI5, [*many(1, [50] * 10), *many(2, [60] * 10)]),
    ).evidence
    assert not answer.settled
    assert answer.picks[0].variant == "tflite-dynamic-int8"
    assert "the kinds differ in what is first" in answer.reason
    assert "tflite-fp32 on litert on 1" in answer.reason
    assert "--box" in answer.reason


def test_what_misses_a_limit_on_one_kind_of_box_is_out_for_the_target() -> None:
    answer = _select(
        (PI4, [*many(1, [200] * 20), *many(2, [100] * 20)]),
        (PI5, [*many(1, [210] * 20), *many(2, [900] * 20)]),
        limits=Limits(max_p99_ns=1000),
    ).evidence
    assert [each.variant for each in answer.picks] == ["tflite-fp32"]


def test_a_variant_known_on_one_kind_only_comes_after_those_known_on_all() -> None:
    answer = _select(
        (PI4, [*many(1, [200] * 20), *many(2, [100] * 20)]),
        (PI5, [*many(1, [50] * 10)]),
    ).evidence
    assert [each.variant for each in answer.picks] == ["tflite-fp32", "tflite-dynamic-int8"]
    assert "tflite-fp32 on litert is the best over 2 kinds of boxes" in answer.reason
    assert not answer.settled
    assert "8 boxes (Raspberry Pi 5) with tflite-dynamic-int8 on litert" in answer.reason


def test_too_little_evidence_is_said_with_what_would_settle_it() -> None:
    answer = _select((PI4, many(1, [100] * 3)))
    assert answer.evidence.picks == ()
    assert "no variant has reports that count from 8 boxes" in answer.evidence.reason
    assert "5 boxes (Raspberry Pi 4) with tflite-fp32" in answer.evidence.reason
    assert [record["boxes"] for record in answer.needed.records()] == [5, 8]


def test_without_reports_of_the_target_or_model_it_says_what_there_is() -> None:
    def ask(models: list[str], model: str | None = None) -> str:
        rows = SelectRows(None, models, {}, (), {})
        query = SelectQuery("arm64", model=model)
        return select_answer(query, rows, now_ms=0, source="x").evidence.reason

    assert ask([]) == "there are no reports for the target arm64"
    assert ask(["a", "b"]) == "the target has reports of a, b; name one with --model"
    assert ask(["a"], "c") == "there are no reports of c for arm64, but of a"


def test_a_kind_of_box_that_nobody_has_is_said() -> None:
    rows = SelectRows("session", ["session"], SETUPS, (), {})
    query = SelectQuery("arm64", box="Toaster")
    answer = select_answer(query, rows, now_ms=0, source="x").evidence
    assert answer.reason == "no single_stream run of session for arm64 on Toaster"


def test_of_several_ways_of_measuring_a_kind_of_box_the_one_with_most_trusted_runs_is_taken() -> (
    None
):
    longer = replace(PI4, id=3, digest="3" * 64)
    counts = {
        (PI4.id, Standing.TRUSTED): 10,
        (longer.id, Standing.TRUSTED): 20,
        (PI4.id, Standing.DOUBTFUL): 90,
        (PI5.id, Standing.DOUBTFUL): 5,
    }
    assert main_contexts([PI4, PI5, longer], counts) == [longer, PI5]
    emulated = {(PI5.id, Standing.EMULATED): 90}
    assert main_contexts([PI5, longer], {**counts, **emulated})[0] == longer
    assert main_contexts([PI5], emulated) == [PI5]
    assert main_contexts([PI5, PI4], {**emulated, (PI4.id, Standing.DOUBTFUL): 1}) == [PI4]
    assert "2 contexts with fewer runs left out" in _select((PI4, []), left_out=2).evidence.reason


def test_the_answer_survives_the_wire() -> None:
    answer = _select(
        (PI4, [*many(1, [200] * 20), *many(2, [190] * 3)]), limits=Limits(min_quality=0.5)
    )
    assert parse_evidence(answer.evidence.to_bytes()) == answer.evidence


def test_the_tables_say_what_the_evidence_says() -> None:
    answer = _select((PI4, [*many(1, [200] * 20), *many(2, [100] * 20)]))
    (kind,) = answer.kinds
    assert [record["place"] for record in kind.records()] == [1, 2]
    assert answer.picks.records()[0]["variant"] == "tflite-dynamic-int8"
