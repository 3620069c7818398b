"""Odd bytes for every parser that takes them from the network or the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.mutate import examples
from tests.fuzz.registry import NAMES, all_targets
from tests.fuzz.run import hunt
from tests.fuzz.target import Target

#: All targets together take about a minute and a half.
EXAMPLES = int(os.environ.get("EDGEPACK_FUZZ_EXAMPLES", "8000"))
SEED = int(os.environ.get("EDGEPACK_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return all_targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
def test_no_bytes_raise_what_is_not_documented(targets: dict[str, Target], name: str) -> None:
    assert hunt(targets[name], EXAMPLES, SEED) == {}


def test_every_target_is_named_and_has_honest_seeds(targets: dict[str, Target]) -> None:
    assert tuple(targets) == NAMES
    for target in targets.values():
        target_raised = []
        for seed in target.seeds[:1]:
            try:
                target.eat(seed)
            except target.errors as error:
                target_raised.append(error)
        assert target_raised == [], f"{target.name} refuses its own honest example"


def test_a_bug_is_found_and_a_documented_error_is_none() -> None:
    def eat(data: bytes) -> None:
        if b"\0" in data:
            raise IndexError
        raise ValueError

    found = hunt(Target("x", eat, (b"honest",), (ValueError,)), 500, 1)
    assert list(found) == ["IndexError: "]


def test_the_same_seed_makes_the_same_bytes() -> None:
    seeds = (b'{"a": [1, 2, {"b": "c"}]}', b"plain")
    made = [list(examples(seeds, 200, seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert len(set(made[0])) > 100


def test_the_seeds_reach_a_parser_first(tmp_path: Path) -> None:
    assert list(examples((b"a", b"b"), 2, 1)) == [b"a", b"b"]
