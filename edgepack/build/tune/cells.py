"""What is measured: every variant that may ship, on its runtime, with every set of options.

A cell's key is a digest of everything a measurement of it depends on, the machine excepted, whose
own key stands beside it. It is not aware of executors or of results. Used by `measuring`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgepack.build.choose import VariantRow
from edgepack.build.pack import runner_files, tuning_files
from edgepack.build.targets import Site
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import ConfigError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.options import EngineOptions, sensible_options
from edgepack.formats.report import Duration
from edgepack.formats.statistics import minimum_count
from edgepack.formats.tuning import Block, parse_block
from edgepack.formats.typed import to_plain
from edgepack.formats.variants import RuntimeName

_SECOND_NS: Final = 1_000_000_000
#: Raised when a block comes to mean something else.
_VERSION: Final = 1
#: Rounds, the seconds of all rounds together, and those to warm up before each. Eight is the
#: fewest from which a median's interval can be told at 99 %. The seconds are the runner's own:
#: a look, a minute, MLPerf's ten minutes.
_PLANS: Final = {
    Duration.QUICK: (8, 2.0, 0.05),
    Duration.STANDARD: (15, 60.0, 0.2),
    Duration.MLPERF: (30, 600.0, 0.5),
}


@dataclass(frozen=True, slots=True)
class TunePlan:
    """How long every cell is measured.

    Attributes:
        duration: The name of it.
        rounds: In how many rounds.
        block_ns: How long in each, at least.
        min_queries: How many answers in each, at least.
        warmup_ns: How long before each.
    """

    duration: Duration
    rounds: int
    block_ns: int
    min_queries: int
    warmup_ns: int

    @property
    def min_duration_ns(self) -> int:
        """How long all rounds of a valid run take together."""
        return self.block_ns * self.rounds


def plan_of(duration: Duration, rounds: int | None = None) -> TunePlan:
    """Returns the plan of a duration.

    Args:
        duration: The name of it.
        rounds: Another number of rounds, for the same time.
    """
    usual, seconds, warmup_s = _PLANS[duration]
    count = rounds or usual
    return TunePlan(
        duration=duration,
        rounds=count,
        block_ns=round(seconds * _SECOND_NS / count),
        # Together as many as a 90th percentile can be told from.
        min_queries=-(-minimum_count(0.9) // count),
        warmup_ns=round(warmup_s * _SECOND_NS),
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A variant on its runtime with options.

    Attributes:
        row: The variant's row for the target.
        options: How it is opened.
        key: A digest of all that a measurement depends on, beside the machine.
    """

    # A row holds mappings and has no hash; the key says which it is.
    row: VariantRow = field(compare=False)
    options: EngineOptions
    key: str

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.row.variant.spec.name} on {self.row.runtime} with {self.options}"


def cells_of(
    rows: Sequence[VariantRow],
    sites: Mapping[RuntimeName, Site],
    golden: Mapping[str, GoldenSet],
    plan: TunePlan,
    cores: int,
    threads: tuple[int, ...] | None = None,
) -> list[Cell]:
    """Lists the cells for a machine, each runtime's together.

    Args:
        rows: The variants that may ship.
        sites: Each runtime's wheels.
        golden: Golden answers by variant.
        plan: How long each is measured.
        cores: Cores that may be used there.
        threads: The only numbers of threads; None: 1, 2 and 4.

    Raises:
        ConfigError: There are fewer cores than any of `threads`.
    """
    found = []
    for row in rows:
        options = (
            sensible_options(row.runtime, cores)
            if threads is None
            else sensible_options(row.runtime, cores, counts=threads)
        )
        found += [
            Cell(row, each, _key(row, each, sites[row.runtime], golden, plan)) for each in options
        ]
    if rows and not found:
        raise ConfigError(
            f"--threads {', '.join(map(str, threads or ()))}: only {cores} cores may be used",
            hint="leave --threads out to try what the machine has",
        )
    return found


def _key(
    row: VariantRow,
    options: EngineOptions,
    site: Site,
    golden: Mapping[str, GoldenSet],
    plan: TunePlan,
) -> str:
    variant = row.variant
    decides = {
        "version": _VERSION,
        "runtime": [str(row.runtime), row.runtime_version, site.sha256],
        "runner": runner_digest(row.runtime),
        "variant": [variant.spec.name, variant.sha256],
        "golden": sha256_hex(golden[variant.spec.name].to_bytes()),
        "options": to_plain(options),
        "plan": [plan.rounds, plan.block_ns, plan.min_queries, plan.warmup_ns],
    }
    return sha256_hex(canonical_json(decides))[:32]


def runner_digest(runtime: RuntimeName) -> str:
    """Returns what tells the measuring code apart."""
    sources = {**runner_files(runtime), **tuning_files()}
    return sha256_hex(canonical_json({path: sha256_hex(data) for path, data in sources.items()}))


class KeptBlocks:
    """Blocks in a folder, `CELL/MACHINE/ROUND.json`; the runner writes the same files itself."""

    def __init__(self, folder: Path) -> None:
        """Opens a folder.

        Args:
            folder: It need not exist.
        """
        self.folder = folder

    def find(self, cell: Cell, machine: str, number: int) -> Block | None:
        """Returns a block that was kept; None where there is none or it is damaged."""
        try:
            block = parse_block(self._path(cell, machine, number).read_bytes())
        except OSError:
            return None
        sound = block is not None and (block.machine, block.round) == (machine, number)
        return block if sound else None

    def keep(self, cell: Cell, block: Block) -> None:
        """Keeps a block that came from elsewhere, all of it or nothing.

        Raises:
            ConfigError: It cannot be written.
        """
        from edgepack.build.whole_file import whole_file

        path = self._path(cell, block.machine, block.round)
        if not path.is_file():
            with whole_file(path, mode=0o644) as file:
                file.write(block.to_bytes())

    def _path(self, cell: Cell, machine: str, number: int) -> Path:
        return self.folder / cell.key / machine / f"{number:03}.json"
