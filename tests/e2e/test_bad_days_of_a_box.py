"""What happens in a shop: a full disk, a read-only root, a wrong clock, no network.

Each time the same: the runner serves on and answers right, and says what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepack.runner.reports.spool import Spool
from tests.campaigns.boxes import Box, make_box, serving_on
from tests.e2e.real_models import runner_environment

_FULL_MB = 2


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("bad-days") / "box")


def _doctor(box: Box, *arguments: str, wrapped_in: tuple[str, ...] = ()) -> tuple[int, Any]:
    done = subprocess.run(
        [*wrapped_in, *box.command("doctor", "--json", *arguments)],
        env=runner_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    findings = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    return done.returncode, findings


def _mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(["mount", *options, str(place)], check=False, capture_output=True)
    if done.returncode != 0 and not os.environ.get("CI"):
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 0, done.stderr
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB with an id and three waiting reports."""
    yield from _mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={_FULL_MB}m", "tmpfs")


def _fill(disk: Path) -> None:
    with (disk / "somebody-elses").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0


def test_a_full_disk_stops_no_answer_and_is_said_in_log_metrics_and_doctor(
    box: Box, small_disk: Path, tmp_path: Path
) -> None:
    full = Box(box.release, small_disk / "state")
    spool = Spool(small_disk / "state" / "spool")
    for _ in range(3):
        spool.add(str(uuid.uuid4()), b"{}" + b" " * 20_000)
    _fill(small_disk)
    with serving_on(full, tmp_path / "log") as serving:
        assert serving.wrong_answers(box.golden()) == []
        metrics = serving.ask("GET", "/metrics")[1]
        assert "\nedgepack_state_writable 0.0\n" in metrics
        assert "\nedgepack_state_free_bytes 0.0\n" in metrics
        warnings = [each for each in serving.events() if each["level"] == "warning"]
        assert [each["event"] for each in warnings] == ["state cannot be written"]
        assert "is full" in warnings[0]["problem"]
        code, findings = _doctor(full, "--port", str(serving.port))
    assert (findings["state"]["status"], code) == ("fail", 8)
    assert findings["port"]["status"] == "ok"


def test_on_a_full_disk_a_new_report_takes_the_place_of_older_ones(
    box: Box, small_disk: Path
) -> None:
    full = Box(box.release, small_disk / "state")
    spool = Spool(small_disk / "state" / "spool")
    older = 12
    for _ in range(older):
        spool.add(str(uuid.uuid4()), b"{}" + b" " * 8_000)
    _fill(small_disk)
    done = full.run("bench")
    assert done.returncode == 0, done.stderr
    assert "older reports were dropped from the spool" in done.stderr
    waiting = spool.waiting()
    newest = waiting[-1]
    assert json.loads(newest.path.read_bytes())["report_id"] == newest.report_id
    # A report takes some 20 kB: it costs the oldest few, never all of them.
    assert 1 <= spool.dropped() == older + 1 - len(waiting) < older / 2


@pytest.fixture
def read_only(box: Box, tmp_path: Path) -> Iterator[Path]:
    """The release on a file system that nobody may write."""
    for place in _mounted(tmp_path / "ro", "--bind", str(box.release)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (place / "x").touch()
        yield place


def test_a_read_only_root_serves_with_one_state_folder(
    box: Box, read_only: Path, tmp_path: Path
) -> None:
    sealed = Box(read_only, tmp_path / "state")
    with serving_on(sealed, tmp_path / "log") as serving:
        assert serving.wrong_answers(box.golden()) == []
        assert "\nedgepack_state_writable 1.0\n" in serving.ask("GET", "/metrics")[1]
    assert sealed.run("bench").returncode == 0
    assert len(Spool(sealed.state / "spool").waiting()) == 1


def test_a_read_only_state_serves_too(box: Box, read_only: Path, tmp_path: Path) -> None:
    sealed = Box(read_only, read_only / "state")
    with serving_on(sealed, tmp_path / "log") as serving:
        assert serving.wrong_answers(box.golden()) == []
        warned = [each["problem"] for each in serving.events() if each["level"] == "warning"]
    assert len(warned) == 1
    assert "read-only" in warned[0]
    assert _doctor(sealed)[1]["state"]["status"] == "fail"


@pytest.mark.parametrize("moment", ["1970-01-02 00:00:00", "2100-01-01 00:00:00"])
def test_a_clock_that_is_wrong_by_decades_changes_no_answer(
    box: Box, tmp_path: Path, moment: str
) -> None:
    wrong = ("faketime", moment)
    with serving_on(box, tmp_path / "log", wrapped_in=wrong) as serving:
        assert serving.wrong_answers(box.golden()) == []
        assert serving.ask("GET", "/healthz")[0] == 200
        assert serving.events()[0]["time"].startswith(moment[:4])
    code, findings = _doctor(box, wrapped_in=wrong)
    past = moment.startswith("1970")
    assert (findings["clock"]["status"] == "fail") == past
    assert code == (8 if past else 0)


#: Runs in a network namespace of its own, whose only interface is a loopback that is down.
_OFFLINE = """
import fcntl, json, socket, struct, sys
from pathlib import Path
from tests.campaigns.boxes import Box, serving_on
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
release, state, log = map(Path, sys.argv[1:])
box = Box(release, state)
with serving_on(box, log) as serving:
    wrong = serving.wrong_answers(box.golden())
    send = box.run("report", "--send", "https://hub.example/reports")
    looked = box.run("doctor", "--port", str(serving.port), "--json")
    reached = box.run("doctor", "--network", "https://hub.example/reports", "--json")
print(json.dumps([wrong, send.returncode, looked.returncode, reached.returncode]))
"""


def test_without_a_network_it_serves_and_reports_wait(
    box: Box, repository: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("only root can take the network away")
    state = tmp_path / "state"
    shutil.copytree(box.state, state)
    Spool(state / "spool").add(str(uuid.uuid4()), b"{}")
    places = [str(box.release), str(state), str(tmp_path / "log")]
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", _OFFLINE, *places],
        env=runner_environment(),
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], 9, 0, 9]
    assert len(Spool(state / "spool").waiting()) == 1
