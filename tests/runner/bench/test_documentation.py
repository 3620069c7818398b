from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgepack.runner.bench.trust import REASONS
from edgepack.runner.main import main


def _page(repository: Path) -> str:
    return (repository / "docs" / "benchmarking.md").read_text()


def test_every_trust_reason_is_documented_with_its_grade(repository: Path) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| ([XCB]) \|", _page(repository), re.MULTILINE))
    assert documented == {reason: str(grade) for reason, grade in REASONS.items()}


def test_every_option_of_bench_is_documented(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    options = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert {"--scenario", "--choose", "--while-serving"} <= options
    table = _page(repository).partition("## The scenarios")[0]
    assert options - {"--help"} <= set(re.findall(r"--[a-z-]+", table))
