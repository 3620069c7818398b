"""Benchmarks of simulated releases on fake boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgepack.formats.report import Duration, Report, Scenario
from edgepack.runner.bench.benchmark import Identity, Request, Surroundings, measure_release
from edgepack.runner.bench.process import Usage
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.engines import Engine
from edgepack.runner.gpu.nvml import Look
from edgepack.runner.release import Release
from tests.runner.bench.boxes import PI_PLATFORM, raspberry_pi_4
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release

IDENTITY = Identity("0b5f6d0c-7f0e-4c3e-9a52-1f6d0a1b2c3d", "a" * 32, "0.1.0")


class Meter:
    """A process meter that tells fixed numbers, or nothing."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.looks = 0
        self.born: tuple[HandClock, int] | None = None

    def usage(self) -> Usage:
        if self.silent:
            return Usage(None, None, None, None, None, None, None)
        self.looks += 1
        return Usage(1000 * self.looks, 900, 0, 10**9 * self.looks, 10**6, 5, 6)

    def peak_rss(self) -> int | None:
        return None if self.silent else 5000

    def age_ns(self) -> int | None:
        if self.silent or self.born is None:
            return None if self.silent else 300_000_000
        clock, born_ns = self.born
        return clock.now_ns - born_ns

    def age_since(self, clock: HandClock, startup_ns: int) -> None:
        """Makes the process one that began so long before now."""
        self.born = (clock, clock.now_ns - startup_ns)


def measure(
    release: Release,
    clock: HandClock,
    engine: Callable[[Release], Engine],
    *,
    tree: SystemTree,
    meter: Meter | None = None,
    environment: dict[str, str] | None = None,
    duration: Duration = Duration.QUICK,
    scenarios: tuple[Scenario, ...] = (Scenario.SINGLE_STREAM, Scenario.OFFLINE),
    daemon_pid: int | None = None,
    waited_ns: int = 0,
    look_at_cards: Callable[[], Look] | None = None,
) -> Report:
    """Measures a release on a fake box."""
    around = Surroundings(
        clock=clock,
        system=tree,
        here=PI_PLATFORM,
        environment=environment or {},
        clock_synced=lambda: True,
        meter=meter or Meter(),
        open_engine=engine,
        started_ns=clock.now_ns - waited_ns,
        waited_ns=waited_ns,
        daemon_pid=daemon_pid,
        look_at_cards=look_at_cards,
    )
    request = Request(duration, scenarios)
    return measure_release(release, request, IDENTITY, around)


def engine_of(clock: HandClock, call_ns: int = 2_000_000) -> Callable[[Release], Engine]:
    """Opens a simulated engine in 40 ms."""

    def open_simulated(_: Release) -> Engine:
        clock.now_ns += 40_000_000
        return SimulatedEngine(clock=clock, call_ns=call_ns)

    return open_simulated


def quiet_report(directory: Path) -> Report:
    """A minute's run on a quiet board; only a short run would leave a reason behind."""
    clock = HandClock(step_ns=50)
    return measure(
        simulated_release(directory),
        clock,
        engine_of(clock),
        tree=raspberry_pi_4(directory / "box"),
        duration=Duration.STANDARD,
    )
