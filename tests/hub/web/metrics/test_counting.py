from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgepack.hub.web.metrics import Metrics, Refusal, Taken


def samples(metrics: Metrics) -> dict[str, float]:
    """What Prometheus would read, by series."""
    text = metrics.exposition()[0].decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}"] = each.value
    return found


def test_reports_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.count_taken(Taken.NEW, 3)
    metrics.count_taken(Taken.SEEN)
    metrics.count_refused(Refusal.INVALID, 2)
    found = samples(metrics)
    assert found['edgepack_hub_reports_total{outcome="new"}'] == 3
    assert found['edgepack_hub_reports_total{outcome="seen"}'] == 1
    assert found['edgepack_hub_reports_refused_total{reason="invalid"}'] == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, Refusal.MALFORMED), (409, Refusal.CONFLICT), (422, Refusal.INVALID)],
)
def test_a_status_says_why_a_report_was_refused(status: int, reason: Refusal) -> None:
    assert Refusal.of_status(status) is reason


def test_what_has_not_happened_yet_is_there_as_zero() -> None:
    found = samples(Metrics())
    for reason in Refusal:
        assert found[f'edgepack_hub_reports_refused_total{{reason="{reason}"}}'] == 0
    for outcome in Taken:
        assert found[f'edgepack_hub_reports_total{{outcome="{outcome}"}}'] == 0
    assert found["edgepack_hub_commit_failures_total{}"] == 0


def test_a_transaction_counts_its_reports_and_its_time() -> None:
    metrics = Metrics()
    metrics.observe_commit(3, 0.004)
    metrics.observe_commit(600, 0.2)
    metrics.observe_ingest(0.03)
    metrics.count_commit_failure(OSError("the disk is full"))
    found = samples(metrics)
    assert found['edgepack_hub_commit_reports_bucket{le="2.0"}'] == 0
    assert found['edgepack_hub_commit_reports_bucket{le="4.0"}'] == 1
    assert found['edgepack_hub_commit_reports_bucket{le="512.0"}'] == 1
    assert found["edgepack_hub_commit_reports_sum{}"] == 603
    assert found['edgepack_hub_commit_duration_seconds_bucket{le="0.005"}'] == 1
    assert found["edgepack_hub_ingest_duration_seconds_count{}"] == 1
    assert found["edgepack_hub_commit_failures_total{}"] == 1


def test_the_queue_is_as_deep_as_it_is_when_prometheus_asks() -> None:
    metrics, waiting = Metrics(), [0]
    metrics.watch_queue(lambda: waiting[0], limit=1000)
    waiting[0] = 17
    found = samples(metrics)
    assert found["edgepack_hub_queue_reports{}"] == 17
    assert found["edgepack_hub_queue_limit_reports{}"] == 1000


def test_two_hubs_in_one_process_do_not_count_together() -> None:
    one, other = Metrics(), Metrics()
    one.count_taken(Taken.NEW)
    assert samples(other)['edgepack_hub_reports_total{outcome="new"}'] == 0


@pytest.mark.parametrize("pattern", [r"^# HELP (?P<name>\S+) (?P<about>.+)$"])
def test_every_metric_says_what_it_is_and_has_a_name_of_its_own(pattern: str) -> None:
    text = Metrics().exposition()[0].decode()
    ours = [m["name"] for m in re.finditer(pattern, text, re.MULTILINE)]
    assert len(ours) == len(set(ours))
    for name in ours:
        assert name.startswith(("edgepack_hub_", "process_"))
    assert "_created" not in text
