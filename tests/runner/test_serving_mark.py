from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.runner.bench.daemon import check_daemon
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.serving_mark import Serving, mark_serving, read_serving
from tests.runner.bench.boxes import write_tree
from tests.runner.simulators import HandClock


def test_a_daemon_is_seen_as_long_as_it_serves(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert read_serving(state) is None
    with mark_serving(state, 8080, HandClock()) as marked:
        assert marked
        found = read_serving(state)
        assert found == Serving(os.getpid(), 8080, "2026-11-23T09:00:00.001Z")
        # Looking does not take the mark away.
        assert read_serving(state) == found
    assert read_serving(state) is None


def test_what_a_dead_daemon_left_behind_does_not_count(tmp_path: Path) -> None:
    mark = {"pid": 1, "port": 8080, "started": "2026-11-23T09:00:00.000Z"}
    (tmp_path / "serving.json").write_text(json.dumps(mark))
    assert read_serving(tmp_path) is None
    with mark_serving(tmp_path, 8081, HandClock()):
        found = read_serving(tmp_path)
        assert found is not None
        assert (found.pid, found.port) == (os.getpid(), 8081)


def test_a_second_daemon_serves_on_without_the_mark(tmp_path: Path) -> None:
    with mark_serving(tmp_path, 8080, HandClock()):
        with mark_serving(tmp_path, 8081, HandClock()) as marked:
            assert not marked
        found = read_serving(tmp_path)
        assert found is not None
        assert found.port == 8080


def test_a_reader_does_not_keep_a_daemon_from_its_mark(tmp_path: Path) -> None:
    class Reading(HandClock):
        """A clock on which the reader is done after the first pause."""

        def sleep(self, duration_s: float) -> None:
            super().sleep(duration_s)
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    (tmp_path / "serving.json").touch()
    descriptor = os.open(tmp_path / "serving.json", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    clock = Reading()
    with mark_serving(tmp_path, 8080, clock) as marked:
        assert marked
        assert len(clock.slept) == 1
    os.close(descriptor)


def test_a_state_folder_that_cannot_be_written_keeps_nobody_from_serving(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with mark_serving(tmp_path / "file" / "state", 8080, HandClock()) as marked:
        assert not marked
    with mark_serving(None, 8080, HandClock()) as marked:
        assert not marked
    assert read_serving(None) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"pid": true, "port": "x"}', '{"pid": -1, "started": 5}']
)
def test_a_half_written_mark_is_a_daemon_nothing_is_known_of(tmp_path: Path, text: str) -> None:
    with mark_serving(tmp_path, 8080, HandClock()):
        (tmp_path / "serving.json").write_text(text)
        assert read_serving(tmp_path) == Serving(None, None, None)


class Working(HandClock):
    """A clock on which the daemon takes CPU time while others sleep."""

    def __init__(self, root: Path, ticks: int) -> None:
        super().__init__()
        self.root = root
        self.ticks = ticks
        self.take(0)

    def take(self, ticks: int) -> SystemTree:
        stat = f"{os.getpid()} (python3) S " + "0 " * 10 + f"{100 + ticks} 0 0 0"
        return write_tree(self.root, {f"/proc/{os.getpid()}/stat": stat})

    def sleep(self, duration_s: float) -> None:
        super().sleep(duration_s)
        self.take(self.ticks)


@pytest.mark.parametrize(("ticks", "refused"), [(0, False), (1, False), (2, True), (150, True)])
def test_a_busy_daemon_is_not_disturbed(tmp_path: Path, ticks: int, refused: bool) -> None:
    clock = Working(tmp_path / "box", ticks)
    system = SystemTree(tmp_path / "box")
    with mark_serving(tmp_path, 8080, clock):
        if refused:
            with pytest.raises(DeviceError, match="on port 8080") as raised:
                check_daemon(tmp_path, system, clock, while_serving=False)
            assert raised.value.hint is not None
            assert "--while-serving" in raised.value.hint
        else:
            assert check_daemon(tmp_path, system, clock, while_serving=False) is not None
        found = check_daemon(tmp_path, system, clock, while_serving=True)
        assert found is not None
        assert found.pid == os.getpid()


def test_a_daemon_that_cannot_be_watched_is_taken_for_busy(tmp_path: Path) -> None:
    with mark_serving(tmp_path, 8080, HandClock()):
        with pytest.raises(DeviceError, match="answering requests"):
            check_daemon(tmp_path, SystemTree(tmp_path / "no"), HandClock(), while_serving=False)
        (tmp_path / "serving.json").write_text("{")
        with pytest.raises(DeviceError, match="answering requests;"):
            check_daemon(tmp_path, SystemTree(tmp_path / "no"), HandClock(), while_serving=False)


def test_without_a_daemon_nobody_waits(tmp_path: Path) -> None:
    clock = HandClock()
    assert check_daemon(tmp_path, SystemTree(tmp_path), clock, while_serving=False) is None
    assert clock.slept == []


def test_whoever_asks_the_daemon_is_told_that_it_speaks_tls(tmp_path: Path) -> None:
    with mark_serving(tmp_path, 8443, HandClock(), tls=True):
        found = read_serving(tmp_path)
        assert found is not None
        assert (found.port, found.tls) == (8443, True)
