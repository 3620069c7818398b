from __future__ import annotations

import dataclasses
import errno
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.manifest import Manifest
from edgepack.runner.drift.counters import WINDOW_NS
from edgepack.runner.drift.keeping import (
    DriftKeeper,
    make_counters,
    read_drift,
    restore_counters,
    save_counters,
)
from edgepack.runner.log import Log
from tests.runner.disks import SimulatedDisk
from tests.runner.drift.test_counters import REFERENCE
from tests.runner.simulators import HandClock, write_release

_STATE = Path("/state")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return dataclasses.replace(write_release(tmp_path), reference=REFERENCE)


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_directory(_STATE)
    return disk


def test_counts_go_on_after_a_restart(manifest: Manifest, disk: SimulatedDisk) -> None:
    clock = HandClock()
    first = make_counters(manifest, clock)
    first.observe(3, 1, [5.0, 4.0, 3.0])
    clock.now_ns += WINDOW_NS - 1000
    save_counters(_STATE, first, clock, disk)
    # After a boot the monotonic clock begins anew.
    later = HandClock()
    second = make_counters(manifest, later)
    assert restore_counters(_STATE, second, disk)
    second.observe(2, 0, [5.0, 4.0, 3.0])
    assert second.facts().histories == 2
    assert second.facts().since == first.facts().since
    later.now_ns += 2000
    assert len(second.windows()) == 2, "its age went on as well"


def test_both_windows_are_kept(manifest: Manifest, disk: SimulatedDisk) -> None:
    clock = HandClock()
    first = make_counters(manifest, clock)
    first.observe(3, 1, [5.0, 4.0, 3.0])
    clock.now_ns += WINDOW_NS
    first.windows()
    first.observe(1, 0, [5.0, 4.0, 3.0])
    save_counters(_STATE, first, clock, disk)
    second = make_counters(manifest, clock)
    assert restore_counters(_STATE, second, disk)
    assert second.facts() == first.facts()


def test_the_report_tells_what_was_written_and_until_when(
    manifest: Manifest, disk: SimulatedDisk
) -> None:
    clock = HandClock()
    counters = make_counters(manifest, clock)
    counters.observe(3, 1, [5.0, 4.0, 3.0])
    save_counters(_STATE, counters, clock, disk)
    written = counters.facts()
    clock.now_ns += 3 * WINDOW_NS
    assert read_drift(_STATE, manifest, clock, disk) == written


def test_counts_of_another_release_are_not_taken_for_this_ones(
    manifest: Manifest, disk: SimulatedDisk
) -> None:
    clock = HandClock()
    save_counters(_STATE, make_counters(manifest, clock), clock, disk)
    other = dataclasses.replace(
        manifest, model=dataclasses.replace(manifest.model, version="9.9.9")
    )
    assert read_drift(_STATE, other, clock, disk) is None
    assert not restore_counters(_STATE, make_counters(other, clock), disk)
    assert read_drift(_STATE, manifest, clock, disk) is not None


def test_where_nothing_was_counted_there_is_nothing_to_report(
    manifest: Manifest, disk: SimulatedDisk
) -> None:
    assert read_drift(_STATE, manifest, HandClock(), disk) is None


@given(data=st.binary(max_size=200))
def test_a_file_that_is_none_starts_anew(data: bytes) -> None:
    disk, clock = SimulatedDisk(), HandClock()
    disk.make_directory(_STATE)
    disk.write(_STATE / "drift.json", data)
    manifest = _manifest_alone()
    assert read_drift(_STATE, manifest, clock, disk) is None
    assert not restore_counters(_STATE, make_counters(manifest, clock), disk)


@given(data=st.data())
def test_a_file_with_anything_changed_in_it_is_taken_whole_or_not_at_all(
    data: st.DataObject,
) -> None:
    disk, clock = SimulatedDisk(), HandClock()
    disk.make_directory(_STATE)
    manifest = _manifest_alone()
    counters = make_counters(manifest, clock)
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    save_counters(_STATE, counters, clock, disk)
    text = disk.read(_STATE / "drift.json", 10_000)
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "drop"]))
    changed = {
        "cut": text[:at],
        "flip": text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :],
        "drop": text[:at] + text[at + 1 :],
    }[kind]
    disk.write(_STATE / "drift.json", changed)
    fresh = make_counters(manifest, clock)
    restored = restore_counters(_STATE, fresh, disk)
    fresh.observe(1, 0, [5.0, 4.0, 3.0])
    assert fresh.facts().histories >= 1
    if not restored:
        assert fresh.facts().histories == 1


def _manifest_alone() -> Manifest:
    with tempfile.TemporaryDirectory() as folder:
        return dataclasses.replace(write_release(Path(folder)), reference=REFERENCE)


def test_the_keeper_goes_on_and_writes_at_the_end(manifest: Manifest, disk: SimulatedDisk) -> None:
    clock = HandClock()
    for day in range(1, 4):
        keeper = DriftKeeper(_STATE, clock, Log(io.StringIO(), clock), disk)
        counters = keeper.follow(manifest)
        counters.observe(1, 0, [5.0, 4.0, 3.0])
        keeper.stop()
        facts = read_drift(_STATE, manifest, clock, disk)
        assert facts is not None
        assert facts.histories == day


def test_the_keepers_thread_starts_and_ends(manifest: Manifest, tmp_path: Path) -> None:
    clock = HandClock()
    keeper = DriftKeeper(tmp_path / "state", clock, Log(io.StringIO(), clock))
    keeper.follow(manifest).observe(1, 0, [5.0, 4.0, 3.0])
    keeper.start()
    keeper.stop()
    assert not keeper._thread.is_alive()
    facts = read_drift(tmp_path / "state", manifest, clock)
    assert facts is not None
    assert facts.histories == 1


def test_a_keeper_that_follows_nothing_writes_nothing(disk: SimulatedDisk) -> None:
    keeper = DriftKeeper(_STATE, HandClock(), Log(io.StringIO(), HandClock()), disk)
    keeper.stop()
    assert disk.names(_STATE) == []


def test_a_full_disk_is_told_and_the_file_before_stays(
    manifest: Manifest, disk: SimulatedDisk
) -> None:
    clock, stream = HandClock(), io.StringIO()
    keeper = DriftKeeper(_STATE, clock, Log(stream, clock), disk)
    counters = keeper.follow(manifest)
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    keeper.save()
    disk.fault_at = lambda number, line: errno.ENOSPC
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    keeper.save()
    assert json.loads(stream.getvalue())["event"] == "drift not kept"
    disk.fault_at = lambda number, line: None
    facts = read_drift(_STATE, manifest, clock, disk)
    assert facts is not None
    assert facts.histories == 1
