"""A tuning survives its trip; what is none is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edgepack.formats.errors import ConfigError
from edgepack.formats.tuning import MAX_BLOCK_BYTES, parse_block, parse_tuning
from tests.build.tune.cells import block
from tests.build.tune.tunings import tuning


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("schema", to="edgepack.tuning/2"), "schema 'edgepack.tuning/2', expected"),
        (_set("machines", 0, "chosen", to=9), "it chooses row 9 of 3"),
        (_set("machines", 0, "cells", 0, "options", to={"threads": 0}), "0 is below 1"),
        (_set("machines", 0, "cells", 0, "runtime", to="lite"), "did you mean 'litert'"),
        (_set("model_sha256", to="abc"), "length 3 is below 64"),
        (_set("duration", to="long"), "expected one of quick, standard, mlperf"),
    ],
)
def test_what_is_no_tuning_is_named(change: Callable[[Any], None], words: str) -> None:
    value = json.loads(tuning().to_bytes())
    change(value)
    with pytest.raises(ConfigError, match=words) as caught:
        parse_tuning(json.dumps(value).encode(), what="tune.json")
    assert caught.value.message.startswith("tune.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1, "a": 2}'])
def test_what_is_no_json_object_is_named(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"tune\.json") as caught:
        parse_tuning(data, what="tune.json")
    assert "edgepack tune --out" in str(caught.value.hint)


def test_a_tuning_is_read_back_the_same() -> None:
    assert parse_tuning(tuning("a", "b").to_bytes(), what="tune.json") == tuning("a", "b")


def test_a_block_is_read_back_the_same_and_a_damaged_one_is_none() -> None:
    made = block(3, 20_000, others_percent=1.5, reasons=("virtualised",))
    assert parse_block(made.to_bytes()) == made
    assert parse_block(made.to_bytes()[:-1]) is None
    assert parse_block(b"{}") is None
    assert parse_block(b" " * (MAX_BLOCK_BYTES + 1)) is None
