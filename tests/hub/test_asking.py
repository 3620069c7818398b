"""The store is asked, and the answers fit what lies in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepack.formats.errors import HubError
from edgepack.hub import asking
from edgepack.hub.answers.changes import Verdict
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import Facet, FleetAnswer, FleetQuery
from edgepack.hub.answers.health import SILENT_AFTER_MS, Condition
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.trust import Standing
from tests.hub.stores import DAY_MS, NOW_MS, Filler


def _fleet(fill: Filler, query: FleetQuery | None = None) -> FleetAnswer:
    with fill.connect() as connection:
        return asking.fleet(connection, query or FleetQuery(), now_ms=NOW_MS)


def _facet(answer: FleetAnswer, key: str) -> dict[str, int]:
    facet: Facet = next(each for each in answer.facets if each.key == key)
    return {each.value: each.devices for each in facet.choices}


def test_an_empty_store_has_answers(fill: Filler) -> None:
    answer = _fleet(fill)
    assert (answer.total, answer.matching, answer.devices) == (0, 0, ())
    with fill.connect() as connection:
        assert asking.device(connection, "nobody", now_ms=NOW_MS) is None
        assert asking.document(connection, "nobody", "none") is None
        assert asking.release(connection, "f" * 64) is None
        assert asking.releases(connection).releases == ()
        compared = asking.compare(connection, CompareQuery())
        assert compared.refusal is not None
        assert compared.refusal.reason == "there are no reports yet"
        chosen = asking.select(connection, SelectQuery("arm64"), now_ms=NOW_MS, source="x")
        assert chosen.evidence.reason == "there are no reports for the target arm64"


def test_the_worst_devices_come_first_and_of_equals_the_last_seen(fill: Filler) -> None:
    fill.device("fine", seen_ms=NOW_MS - 1)
    fill.device("hot", condition=Condition.THROTTLED)
    fill.device("wrong-old", condition=Condition.WRONG_ANSWERS, seen_ms=NOW_MS - 2 * DAY_MS)
    fill.device("wrong-new", condition=Condition.WRONG_ANSWERS, seen_ms=NOW_MS - 1)
    names = [each.name for each in _fleet(fill).devices]
    assert names == ["wrong-new", "wrong-old", "hot", "fine"]


def test_silence_is_judged_when_it_is_asked_and_hides_nothing_worse(fill: Filler) -> None:
    long_ago = NOW_MS - SILENT_AFTER_MS - 1
    fill.device("well-but-silent", seen_ms=long_ago)
    fill.device("just-in-time", seen_ms=NOW_MS - SILENT_AFTER_MS)
    fill.device("wrong-and-silent", seen_ms=long_ago, condition=Condition.WRONG_ANSWERS)
    fill.device("never-seen", seen_ms=None, condition=Condition.SILENT)
    answer = _fleet(fill)
    found = {each.name: (each.condition, each.silent) for each in answer.devices}
    assert found == {
        "wrong-and-silent": (Condition.WRONG_ANSWERS, True),
        "well-but-silent": (Condition.SILENT, True),
        "never-seen": (Condition.SILENT, True),
        "just-in-time": (Condition.OK, False),
    }
    assert _facet(answer, "condition") == {"wrong_answers": 1, "silent": 2, "ok": 1}
    silent = _fleet(fill, FleetQuery(condition="silent"))
    assert {each.name for each in silent.devices} == {"well-but-silent", "never-seen"}


def test_filters_leave_what_fits_and_count_what_each_choice_would_leave(fill: Filler) -> None:
    arm, cpu = fill.release(target="arm64"), fill.release(target="cpu")
    for i in range(3):
        fill.device(f"arm-{i}", release_id=arm, grade="A" if i else "B")
    fill.device("x86", release_id=cpu, box="Intel N100")
    answer = _fleet(fill, FleetQuery(target="arm64", grade="A"))
    assert {each.name for each in answer.devices} == {"arm-1", "arm-2"}
    assert (answer.matching, answer.total) == (2, 4)
    # Each filter's counts are of what the others leave.
    assert _facet(answer, "grade") == {"A": 2, "B": 1}
    assert _facet(answer, "target") == {"arm64": 2, "cpu": 1}
    assert _facet(answer, "release") == {fill.bundle(arm): 2}
    of_bundle = _fleet(fill, FleetQuery(release=fill.bundle(cpu)))
    assert [each.name for each in of_bundle.devices] == ["x86"]
    assert [each.name for each in _fleet(fill, FleetQuery(box="Intel N100")).devices] == ["x86"]


def test_a_filter_that_leaves_nothing_still_shows_what_was_chosen(fill: Filler) -> None:
    fill.device("a")
    answer = _fleet(fill, FleetQuery(condition="no-such", grade="X"))
    assert answer.matching == 0
    assert _facet(answer, "grade")["X"] == 0
    assert _facet(answer, "condition")["no-such"] == 0


@pytest.mark.parametrize("text", ["shop%", "100_", "\\", "SHOP%"])
def test_a_text_is_looked_for_as_it_is_typed(fill: Filler, text: str) -> None:
    fill.device("a", label="shop%1 100_ \\")
    fill.device("b", label="shopx1 100x")
    answer = _fleet(fill, FleetQuery(text=text))
    assert [each.name for each in answer.devices] == ["a"]
    assert answer.total == 1


def test_pages_show_every_device_once(fill: Filler) -> None:
    for _ in range(25):
        fill.device()
    names: list[str] = []
    for offset in (0, 10, 20, 30):
        names += [e.name for e in _fleet(fill, FleetQuery(offset=offset, limit=10)).devices]
    assert len(names) == len(set(names)) == 25


def test_revoked_devices_are_not_in_the_fleet_but_can_be_looked_at(fill: Filler) -> None:
    fill.device("gone", revoked_ms=NOW_MS)
    assert _fleet(fill).total == 0
    with fill.connect() as connection:
        answer = asking.device(connection, "gone", now_ms=NOW_MS)
    assert answer is not None
    assert answer.device.revoked_ms == NOW_MS


def test_a_device_over_time_has_its_series_changes_and_tables(fill: Filler) -> None:
    one, two = fill.release("1.0.0"), fill.release("2.0.0")
    first, second = fill.setup(one), fill.setup(two)
    context, offline = fill.context(), fill.context(scenario="offline")
    box = fill.device("box", release_id=two, setup_id=second)
    fill.history(box, first, context, day=NOW_MS // DAY_MS - 40)
    for i, setup_id in enumerate((first, first, second)):
        created_ms = NOW_MS - (3 - i) * DAY_MS
        report = fill.report(
            box, setup_id, created_ms=created_ms, reasons='["load"]', grade="B" if i else "C"
        )
        fill.run(report, offline, p50_ns=7)
        fill.run(report, context, p50_ns=1000 + i, valid=True)
    with fill.connect() as connection:
        answer = asking.device(connection, "box", now_ms=NOW_MS)
    assert answer is not None
    single, other = answer.series
    assert [point.p50_ns for point in single.points] == [1000, 1001, 1002]
    assert [point.trust for point in single.points] == [
        Standing.DOUBTFUL,
        Standing.TRUSTED,
        Standing.TRUSTED,
    ]
    assert [day.p50_ns for day in single.days] == [1000]
    assert other.context.scenario == "offline"
    assert [(c.before and c.before.version, c.release.version) for c in answer.changes] == [
        (None, "1.0.0"),
        ("1.0.0", "2.0.0"),
    ]
    assert [point.grade for point in answer.box] == ["C", "B", "B"]
    newest = answer.reports.records()[0]
    assert (newest["version"], newest["reasons"]) == ("session 2.0.0", "load")
    assert len(answer.runs) == 6
    assert len(answer.history) == 1
    assert not answer.cut
    with fill.connect() as connection:
        lately = asking.device(connection, "box", now_ms=NOW_MS, days=2)
    assert lately is not None
    assert (len(lately.reports), len(lately.history)) == (2, 0)


def test_a_device_with_more_reports_than_a_chart_needs_is_cut_and_says_so(fill: Filler) -> None:
    setup, context = fill.setup(fill.release()), fill.context()
    box = fill.device("box")
    for i in range(5):
        fill.run(fill.report(box, setup, created_ms=NOW_MS - i * DAY_MS), context, p50_ns=i + 1)
    with fill.connect() as connection:
        answer = asking.device(connection, "box", now_ms=NOW_MS, limit=3)
    assert answer is not None
    assert answer.cut
    assert [point.p50_ns for point in answer.series[0].points] == [3, 2, 1]
    assert answer.reports.note


def test_the_document_is_the_bytes_that_were_sent_by_that_device_alone(fill: Filler) -> None:
    setup = fill.setup(fill.release())
    mine, other = fill.device("mine"), fill.device("other")
    del other
    fill.report(mine, setup, body=b'{"a":1}')
    report_id = "00000000-0000-4000-8000-000000000001"
    with fill.connect() as connection:
        assert asking.document(connection, "mine", report_id) == b'{"a":1}'
        assert asking.document(connection, "other", report_id) is None


def test_a_document_of_an_unknown_kind_is_an_error(fill: Filler) -> None:
    from sqlalchemy import update

    from edgepack.hub.store.schema import document

    fill.report(fill.device("mine"), fill.setup(fill.release()))
    with fill.connect() as connection:
        connection.execute(update(document).values(codec="zstd"))
        with pytest.raises(HubError, match="packed with 'zstd'"):
            asking.document(connection, "mine", "00000000-0000-4000-8000-000000000001")


def test_one_context_is_compared_and_several_are_refused_with_a_way_out(fill: Filler) -> None:
    setup = fill.setup(fill.release())
    pi4, pi5 = fill.context("Raspberry Pi 4"), fill.context("Raspberry Pi 5")
    fill.context("Nobody has this one")
    fill.boxes(setup, pi4, [100, 110, 120])
    fill.boxes(setup, pi5, [50])
    with fill.connect() as connection:
        refused = asking.compare(connection, CompareQuery())
        assert refused.refusal is not None
        (difference,) = refused.refusal.differences
        assert [(each.value, each.results) for each in difference.choices] == [
            ("Raspberry Pi 4", 3),
            ("Raspberry Pi 5", 1),
        ]
        for choice in difference.choices:
            query = CompareQuery(facts=((difference.fact, choice.value),))
            answer = asking.compare(connection, query)
            assert answer.refusal is None
            assert answer.groups is not None
            assert answer.groups[Standing.TRUSTED][0].boxes == choice.results
        part = asking.compare(connection, CompareQuery(box="pi 5"))
        assert part.context is not None
        assert part.context.box == "Raspberry Pi 5"
        by_key = asking.compare(connection, CompareQuery(box=part.context.box_key))
        assert by_key.context == part.context
        by_digest = asking.compare(connection, CompareQuery(context=fill.digest(pi5)))
        assert by_digest.context is not None
        assert by_digest.context.box == "Raspberry Pi 5"
        none = asking.compare(connection, CompareQuery(model="other"))
        assert none.refusal is not None
        assert none.refusal.reason == "no report fits the selection"


def test_rows_can_be_narrowed_by_target_runtime_precision_and_release(fill: Filler) -> None:
    arm, tiny = fill.release(target="arm64"), fill.release(target="arm64-tiny")
    context = fill.context()
    fp32 = fill.setup(arm, "tflite-fp32")
    int8 = fill.setup(arm, "onnx-dynamic-int8")
    small = fill.setup(tiny, "tflite-fp32")
    for setup in (fp32, int8, small):
        fill.boxes(setup, context, [100])

    def rows(**fields: str) -> int:
        with fill.connect() as connection:
            answer = asking.compare(connection, replace(CompareQuery(), **fields))  # type: ignore[arg-type]
        return len((answer.groups or {})[Standing.TRUSTED])

    assert rows() == 3
    assert rows(target="arm64") == 2
    assert rows(runtime="onnxruntime") == 1
    assert rows(precision="fp32") == 2
    assert rows(release=fill.bundle(tiny)) == 1


def test_a_context_with_none_of_the_asked_rows_does_not_make_it_refuse(fill: Filler) -> None:
    arm, cpu = fill.release(target="arm64"), fill.release(target="cpu")
    fill.boxes(fill.setup(arm), fill.context("Raspberry Pi 4"), [100])
    fill.boxes(fill.setup(cpu), fill.context("Intel N100"), [10])
    with fill.connect() as connection:
        answer = asking.compare(connection, CompareQuery(target="cpu"))
    assert answer.refusal is None


def test_a_release_is_held_against_the_one_that_most_of_its_boxes_had(fill: Filler) -> None:
    context = fill.context()
    first, canary, last = fill.release("1"), fill.release("2"), fill.release("3")
    other_target = fill.release("2", target="cpu")
    setups = {each: fill.setup(each) for each in (first, canary, last, other_target)}
    for i in range(10):
        box = fill.device()
        fill.standing(box, setups[first], context, 100, created_ms=1)
        if i < 3:
            fill.standing(box, setups[canary], context, 100, created_ms=2)
        fill.standing(box, setups[last], context, 130, created_ms=3)
        fill.standing(box, setups[other_target], context, 5, created_ms=2)
    with fill.connect() as connection:
        answer = asking.release(connection, fill.bundle(last))
        assert answer is not None
        assert answer.before is not None
        assert answer.before.version == "1"
        assert [each.version for each in answer.choices] == ["2", "1"]
        assert (answer.boxes_both, answer.changes[0].verdict) == (10, Verdict.SLOWER)
        named = asking.release(connection, fill.bundle(last)[:12], before=fill.bundle(canary))
        assert named is not None
        assert named.before is not None
        assert (named.before.version, named.boxes_both) == ("2", 3)
        assert named.changes[0].verdict is Verdict.TOO_FEW
        assert asking.release(connection, fill.bundle(last), before="f" * 64) is None
        assert asking.release(connection, fill.bundle(last), before=fill.bundle(last)) is None
        alone = asking.release(connection, fill.bundle(first))
        assert alone is not None
        assert alone.before is None


def test_releases_are_listed_the_newest_first_with_the_boxes_on_them(fill: Filler) -> None:
    old, new = fill.release("1"), fill.release("2")
    fill.release("1", model="other")
    fill.device(release_id=old)
    fill.device(release_id=new)
    fill.device(release_id=new)
    fill.device(release_id=new, revoked_ms=NOW_MS)
    with fill.connect() as connection:
        answer = asking.releases(connection, model="session")
    assert [(each.version, each.devices) for each in answer.releases] == [("2", 2), ("1", 1)]


def test_a_choice_reads_the_targets_own_releases_and_every_kind_of_box(fill: Filler) -> None:
    arm, cpu = fill.release(target="arm64"), fill.release(target="cpu")
    pi4, pi5 = fill.context("Raspberry Pi 4"), fill.context("Raspberry Pi 5")
    offline = fill.context("Raspberry Pi 4", scenario="offline")
    fp32, int8 = fill.setup(arm, "tflite-fp32"), fill.setup(arm, "tflite-dynamic-int8")
    fill.boxes(fp32, pi4, [200] * 9)
    fill.boxes(int8, pi4, [100] * 9)
    fill.boxes(int8, offline, [1] * 9)
    fill.boxes(fp32, pi5, [80] * 8)
    fill.boxes(fill.setup(cpu, "tflite-fp32"), pi4, [1] * 9)
    with fill.connect() as connection:
        both = asking.select(connection, SelectQuery("arm64"), now_ms=NOW_MS, source="x").evidence
        one = asking.select(
            connection, SelectQuery("arm64", box="Raspberry Pi 4"), now_ms=NOW_MS, source="x"
        ).evidence
    assert [(each.box, each.boxes) for each in both.kinds] == [
        ("Raspberry Pi 4", 18),
        ("Raspberry Pi 5", 8),
    ]
    assert not both.settled
    assert one.settled
    assert [each.variant for each in one.picks] == ["tflite-dynamic-int8", "tflite-fp32"]


def test_with_two_models_one_must_be_named(fill: Filler) -> None:
    fill.release(model="a")
    fill.release(model="b")
    with fill.connect() as connection:
        answer = asking.select(connection, SelectQuery("arm64"), now_ms=NOW_MS, source="x")
    assert answer.evidence.reason == "the target has reports of a, b; name one with --model"
