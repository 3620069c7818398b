"""Answers `edgepack-runner check`: would this release run here, and run right?

It is not aware of who asks or how the answer is printed. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.formats.errors import DeviceError, EdgepackError, QualityError
from edgepack.runner.bench.device import Platform, read_device
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.clock import Clock
from edgepack.runner.release import Release, load_release

if TYPE_CHECKING:
    from edgepack.runner.replay import ReplayOutcome


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What a check found.

    Attributes:
        variant: The candidate that was run; None when the release names none that could be.
        problems: What is wrong, in words; empty when nothing is.
        sequences: Golden cases that were replayed.
        emulated: Whether the CPU is emulated; None when that cannot be told.
        cpu: The CPU's name; None when it has none.
        exit_code: 0, 6 for wrong answers, else the class of the fault.
        provider: What computed; None when nothing could.
        fallback: Why that is not what the bundle asks for; None where it is.
    """

    variant: str | None
    problems: tuple[str, ...]
    sequences: int
    emulated: bool | None
    cpu: str | None
    exit_code: int
    provider: str | None = None
    fallback: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `check --json` prints."""
        return {
            "ok": not self.problems,
            "variant": self.variant,
            "problems": list(self.problems),
            "sequences": self.sequences,
            "emulated": self.emulated,
            "cpu": self.cpu,
            "provider": self.provider,
            "fallback": self.fallback,
        }


def check_release(
    directory: Path,
    variant: str | None,
    *,
    threads: int,
    clock: Clock,
    system: SystemTree,
    here: Platform,
    environment: Mapping[str, str],
) -> CheckOutcome:
    """Loads a candidate of a release and replays its golden answers.

    Args:
        directory: The release.
        variant: Which candidate; the one chosen at build time by default.
        threads: Threads inside one call.
        clock: Times the engine.
        system: The file tree that says what box this is.
        here: The platform Python runs on.
        environment: Environment variables, for signs of emulation.

    Returns:
        What was found; faults of the release or the runtime are findings, not exceptions.
    """
    device = read_device(system, here, environment)
    provider = fallback = None
    try:
        release = load_release(directory, variant)
        variant = release.candidate.variant
        outcome, provider, fallback = _replay(release, threads, clock)
        cases, problems = outcome.cases, outcome.problems
        code = QualityError.exit_code if problems else 0
    except EdgepackError as error:
        cases, problems, code = 0, (error.message,), error.exit_code
    return CheckOutcome(
        variant,
        problems,
        cases,
        device.emulated,
        device.cpu_model,
        code,
        provider,
        fallback,
    )


def _replay(release: Release, threads: int, clock: Clock) -> tuple[ReplayOutcome, str, str | None]:
    try:
        from edgepack.runner.candidates import open_candidate
        from edgepack.runner.engines import EngineOptions
        from edgepack.runner.replay import replay_golden
    except (ImportError, OSError) as error:
        raise DeviceError(f"numpy cannot be imported: {error}") from error
    engine = open_candidate(release, EngineOptions(threads))
    try:
        outcome = replay_golden(release, engine, clock)
        return outcome, engine.provider, engine.fallback
    finally:
        engine.close()
