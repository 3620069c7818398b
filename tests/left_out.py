"""In CI a test that is left out is a failed one: nothing is skipped there unseen."""

from __future__ import annotations

import pytest


def forbid_in_ci(
    report: pytest.TestReport | pytest.CollectReport, *, in_ci: bool
) -> pytest.TestReport | pytest.CollectReport:
    """Turns a skip into a failure where nothing may be left out.

    Args:
        report: Of a test's phase, or of the collection of a file.
        in_ci: Whether this run is CI's.

    Returns:
        The report; an expected failure, which pytest also calls skipped, is left alone.
    """
    if in_ci and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"left out in CI, where every test must run: {reason}"
    return report
