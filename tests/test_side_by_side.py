"""The sharing out of the tests names real files and keeps dear fixtures together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.side_by_side import GROUPS, group_of, order_of

_E2E = Path(__file__).parent / "e2e"
#: What takes minutes to make and lives as long as the session.
_DEAR = ("full_build", "image_base", "image_storage", "own_cache", "arm_root", "workshop")


@pytest.mark.parametrize("fixture", _DEAR)
def test_a_dear_fixture_is_made_by_one_worker_or_in_one_further_group(fixture: str) -> None:
    groups = {
        group_of(f"tests/e2e/{path.name}::test_it")
        for path in sorted(_E2E.glob("test_*.py"))
        if re.search(rf"\b{fixture}\b", path.read_text())
    }
    # The workshop is made in a second; the build of three targets and the roots take minutes.
    assert len(groups) <= (2 if fixture == "workshop" else 1), groups


def test_every_grouped_file_is_there() -> None:
    named = [name for names in GROUPS for name in names]
    assert len(named) == len(set(named))
    assert [name for name in named if not (_E2E / f"test_{name}.py").is_file()] == []


def test_the_longest_come_first_and_unit_tests_last() -> None:
    tests = ["tests/hub/test_a.py::t", "tests/e2e/test_box.py::t", "tests/e2e/test_daemon.py::t"]
    looking = ["tests/test_architecture.py::t", "tests/build/models/test_ranker.py::t"]
    assert sorted(tests + looking, key=order_of) == [*looking, tests[1], tests[2], tests[0]]


def test_a_file_in_no_group_stays_whole() -> None:
    assert group_of("tests/hub/test_a.py::t[one]") == "tests/hub/test_a.py"
