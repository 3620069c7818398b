"""One runner answers a million requests; its memory may not grow: `python -m tests.campaigns.soak`.

The shop's day of `load.mixed_asks` over kept connections, loopback, clients in this process and
the runner in its own. Resident memory is read from /proc after the first 50,000 requests and at
the end; every answer is checked. Nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.variants import RuntimeName
from tests.campaigns.boxes import Box, make_box, serving_on
from tests.campaigns.load import Load, Tally, mixed_asks

#: By then every cache, buffer and metric of a day has been used.
WARM_REQUESTS = 50_000
GROWTH_LIMIT = 0.02
_KIB = 1024
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Soak:
    """How a soak went.

    Attributes:
        requests: How many were asked for.
        tally: What became of them.
        rss: Resident bytes of the runner by number of answers so far.
    """

    requests: int
    tally: Tally
    rss: dict[int, int]

    @property
    def growth(self) -> float:
        """Share by which the resident memory grew after the warm part."""
        warm = next(size for count, size in self.rss.items() if count >= warm_part(self.requests))
        return list(self.rss.values())[-1] / warm - 1

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or wrong and the memory stayed."""
        whole = self.tally.answered == self.requests and not self.tally.failures
        return whole and self.growth <= GROWTH_LIMIT

    def to_json(self) -> dict[str, object]:
        """Returns the result as a JSON object."""
        return {
            "requests": self.requests,
            "warm_requests": warm_part(self.requests),
            "rss_bytes": self.rss,
            "growth": round(self.growth, 5),
            "limit": GROWTH_LIMIT,
            "ok": self.ok,
            **self.tally.to_json(),
        }


def warm_part(requests: int) -> int:
    """How many requests come before the memory is first read: 50,000, at most half of all."""
    return min(WARM_REQUESTS, requests // 2)


def resident_bytes(process_id: int) -> int:
    """Reads a process's resident memory from the kernel."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KIB
    raise AssertionError(f"process {process_id} has no resident memory")


def soak(box: Box, folder: Path, requests: int, connections: int, seed: int = 1) -> Soak:
    """Runs the campaign.

    Args:
        box: The release to serve.
        folder: Where the runner's log goes.
        requests: How many.
        connections: Clients at once.
        seed: Of the order of the requests.
    """
    histories = [each.history for each in box.golden().sequences]
    rss: dict[int, int] = {}
    warm = warm_part(requests)
    marks = {warm + (requests - warm) * i // _SAMPLES for i in range(_SAMPLES)} | {requests}
    with serving_on(box, folder / "soak.log") as serving:
        process_id = serving.process.pid

        def look(answered: int) -> None:
            if answered in marks:
                rss[answered] = resident_bytes(process_id)
                if sys.stderr.isatty():
                    print(f"\r{answered:,} answered", end="", file=sys.stderr)

        load = Load(serving.port, mixed_asks(histories), seed=seed)
        tally = asyncio.run(load.run(connections, requests, look))
        rss.setdefault(requests, resident_bytes(process_id))
    return Soak(requests, tally, rss)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the campaign for a person and prints its table; 1 when it failed."""
    parser = argparse.ArgumentParser(
        description="Ask one runner for a day and watch its memory.",
        epilog="example: python -m tests.campaigns.soak --requests 1000000",
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", type=RuntimeName, default=RuntimeName.LITERT)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = make_box(folder / "box", options.runtime)
        result = soak(box, folder, options.requests, options.connections, options.seed)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        print(describe(result))
    return 0 if result.ok else 1


def describe(result: Soak) -> str:
    """Writes the result as a table."""
    tally = result.tally
    lines = [f"{'request':<28}{'answers':>10}"]
    lines += [f"{name:<28}{count:>10,}" for name, count in sorted(tally.by_name.items())]
    lines += [f"{'answers':<28}{'RSS MB':>10}"]
    lines += [f"{count:<28,}{size / 1e6:>10.2f}" for count, size in result.rss.items()]
    lines += [f"LOST {how}: {count}" for how, count in tally.lost.items()]
    lines += [f"WRONG {how}: {count}" for how, count in tally.wrong.items()]
    verdict = "ok" if result.ok else "FAILED"
    lines.append(
        f"{tally.answered:,} of {result.requests:,} answered, {tally.failures} lost or wrong, "
        f"memory {result.growth:+.2%} (limit {GROWTH_LIMIT:+.0%}): {verdict}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
