"""Odd bytes for every parser that takes them from the network or the disk."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import examples, odd_version
from tests.fuzz.registry import NAMES, all_targets
from tests.fuzz.run import hunt
from tests.fuzz.target import Target, folder_for_fuzzing

#: All targets together take half a minute.
EXAMPLES = int(os.environ.get("EDGEPACK_FUZZ_EXAMPLES", "8000"))
#: Hypothesis takes many times as long for one, and shrinks what it finds.
SHRUNK_EXAMPLES = EXAMPLES // 40
SEED = int(os.environ.get("EDGEPACK_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    with folder_for_fuzzing() as name:
        yield all_targets(Path(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_bytes_raise_what_is_not_documented(targets: dict[str, Target], name: str) -> None:
    assert hunt(targets[name], EXAMPLES, SEED) == {}


@pytest.mark.parametrize("name", NAMES)
def test_hypothesis_finds_no_shorter_way_to_break_one(
    targets: dict[str, Target], name: str
) -> None:
    target = targets[name]

    @seed(SEED)
    @settings(max_examples=max(SHRUNK_EXAMPLES // target.cost, 20), database=None)
    @given(st.randoms(use_true_random=False))
    def feed(chance: random.Random) -> None:
        assert target.bites(odd_version(chance, target.seeds)) is None

    feed()


def test_every_target_is_named_and_has_honest_seeds(targets: dict[str, Target]) -> None:
    assert tuple(targets) == NAMES
    for target in targets.values():
        target_raised = []
        for honest in target.seeds[:1]:
            try:
                target.eat(honest)
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
    made = [list(examples(seeds, 200, number)) for number in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert len(set(made[0])) > 100


def test_the_seeds_reach_a_parser_first(tmp_path: Path) -> None:
    assert list(examples((b"a", b"b"), 2, 1)) == [b"a", b"b"]
