"""Dockerfile.arm64 and the code that drives it say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgepack.build.image.base import DEFAULT_BASE
from edgepack.build.image.contents import ADDED_LAYERS
from edgepack.build.image.context import DOCKERFILE
from edgepack.build.image.finish import HEALTHCHECK
from edgepack.build.shipped import shipped_file
from edgepack.runner.boot.stage import DEFAULT_STATE, RELEASE_TREE, RUNTIME_TREE, STATE_TREE


@pytest.fixture
def text(repository: Path) -> str:
    path = shipped_file(DOCKERFILE)
    assert path == repository / DOCKERFILE
    return path.read_text()


def final_stage(text: str) -> list[str]:
    """The instructions of the last stage, one a line, comments left out."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return [line for line in lines[start:] if line and not line.startswith("#")]


def test_the_default_base_is_the_one_that_is_resolved(text: str) -> None:
    assert f"ARG BASE={DEFAULT_BASE}\n" in text


def test_the_last_stage_runs_nothing_and_copies_every_tree_once(text: str) -> None:
    stage = final_stage(text)
    assert not [line for line in stage if line.startswith(("RUN", "ADD"))]
    copies = [line for line in stage if line.startswith("COPY")]
    assert len(copies) == ADDED_LAYERS
    for line, tree in zip(copies, (RUNTIME_TREE, RELEASE_TREE, STATE_TREE), strict=True):
        assert f" /staged/{tree}/ " in line
    assert copies[2].endswith(f" {DEFAULT_STATE}/")


def test_no_instruction_needs_a_shell(text: str) -> None:
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        match = re.fullmatch(r"(?:RUN|CMD|ENTRYPOINT|VOLUME) (.*)", line)
        assert match is None or isinstance(json.loads(match[1]), list)


def test_the_health_check_is_the_one_that_is_put_into_images(text: str) -> None:
    (line,) = [each for each in final_stage(text) if each.startswith("HEALTHCHECK")]
    options, _, command = line.partition(" CMD ")
    assert ["CMD", *json.loads(command)] == HEALTHCHECK["Test"]
    seconds = {name: int(value) for name, value in re.findall(r"--([\w-]+)=(\d+)", options)}
    assert seconds == {
        "interval": HEALTHCHECK["Interval"] // 10**9,
        "timeout": HEALTHCHECK["Timeout"] // 10**9,
        "start-period": HEALTHCHECK["StartPeriod"] // 10**9,
        "retries": HEALTHCHECK["Retries"],
    }
