"""How pytest-xdist shares the tests out: a file whole, files that share a dear fixture together.

First come the few that look at what their process has imported, while it is nothing. Then the
groups that take longest, so that no worker is left with one of them at the end.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final

from xdist.scheduler.loadfile import LoadFileScheduling

#: Files whose fixtures of a whole session are dear; each such group is one worker's. Longest first.
GROUPS: Final = (
    ("main_job", "box", "image", "image_bad_days", "other_builds", "site_trace"),
    ("optimise",),
    ("convert", "convert_attention", "convert_batched", "convert_recurrent"),
    ("training",),
    ("emulation", "gpu_box", "target_root"),
    ("bad_days", "field_choice", "gpu_benchmark", "tune", "tune_task"),
)
#: Files that look at what has been imported.
_LOOKING: Final = ("tests/test_architecture.py", "tests/build/models/test_ranker.py")
_GROUP_OF: Final = {
    f"tests/e2e/test_{name}.py": index for index, names in enumerate(GROUPS) for name in names
}


def group_of(node_id: str) -> str:
    """What a test runs with: its group's name, or its file's."""
    file = node_id.split("::", 1)[0]
    index = _GROUP_OF.get(file)
    return file if index is None else f"group {index}"


def order_of(node_id: str) -> int:
    """Sorts tests: those that look, the groups, the other end-to-end tests, the unit tests."""
    file = node_id.split("::", 1)[0]
    if file in _LOOKING:
        return -1
    if (index := _GROUP_OF.get(file)) is not None:
        return index
    return len(GROUPS) + (0 if PurePosixPath(file).is_relative_to("tests/e2e") else 1)


class GroupScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist's classes are untyped
    """Hands out groups in the order of collection."""

    def __init__(self, config: Any, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
