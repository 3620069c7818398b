from __future__ import annotations

import pytest

from tests.left_out import forbid_in_ci


def skipped() -> pytest.TestReport:
    where = ("tests/x.py", 7, "Skipped: no emulator")
    return pytest.TestReport("x", ("x", 7, "x"), {}, "skipped", where, "setup")


def test_a_test_that_is_left_out_in_ci_is_a_failed_one() -> None:
    report = forbid_in_ci(skipped(), in_ci=True)
    assert report.failed
    assert "no emulator" in str(report.longrepr)


def test_elsewhere_it_is_reported_as_left_out() -> None:
    assert forbid_in_ci(skipped(), in_ci=False).skipped


def test_a_file_that_is_left_out_in_ci_is_a_failed_one() -> None:
    report = pytest.CollectReport("x", "skipped", ("x.py", 1, "Skipped: no onnx"), None)
    assert forbid_in_ci(report, in_ci=True).failed


def test_an_expected_failure_stays_one() -> None:
    report = skipped()
    report.wasxfail = "known"
    assert forbid_in_ci(report, in_ci=True).skipped
