"""A runner is stopped and started, or reloaded, under load: `python -m tests.campaigns.restarts`.

Clients on kept connections ask without a pause. A stop (SIGTERM) answers every request that was
sent before it closes a connection; a reload (SIGHUP) switches between two releases and keeps the
connections too. In neither is a single request lost or answered wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgepack.formats.manifest import parse_manifest
from edgepack.formats.variants import RuntimeName
from tests.campaigns.boxes import START_S, Box, Serving, make_box, start, stop_now
from tests.campaigns.load import Load, Tally, mixed_asks
from tests.e2e.hubs import free_port

_NEWER = "1.0.1"
HOWS = ("stop", "reload")


@dataclass(slots=True)
class Restarts:
    """How a campaign went.

    Attributes:
        count: How often the server was stopped or reloaded.
        tally: What became of the requests.
        problems: Everything else that should not have been, in words.
    """

    count: int = 0
    tally: Tally = field(default_factory=Tally)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost."""
        return not self.problems and not self.tally.failures

    def to_json(self) -> dict[str, object]:
        """Returns the result as a JSON object."""
        return {
            "count": self.count,
            "problems": self.problems,
            "ok": self.ok,
            **self.tally.to_json(),
        }


def restarts(
    box: Box, folder: Path, count: int, how: str, connections: int = 8, seed: int = 1
) -> Restarts:
    """Runs the campaign.

    Args:
        box: The release to serve.
        folder: Where the server's log goes.
        count: How often.
        how: One of `HOWS`.
        connections: Clients at once.
        seed: Of the requests and of when the signals come.
    """
    result, chance, port = Restarts(), random.Random(seed), free_port()
    asks = mixed_asks([each.history for each in box.golden().sequences])
    # What is right for it to say depends on the moment.
    asks = [each for each in asks if each.name != "health"]
    versions = _two_versions(box, folder)
    box = Box(folder / "current", box.state)
    _switch(box, versions[0])
    load = Load(port, asks, seed=seed, same=_without_version)
    # The second port wins: the options come in order.
    serving = start(box, folder / "serve.log", "--port", str(port))
    clients = threading.Thread(target=lambda: asyncio.run(load.run(connections)))
    clients.start()
    try:
        for turn in range(1, count + 1):
            time.sleep(chance.uniform(0.1, 0.8))
            if how == "stop":
                serving = _stop_and_start(box, serving, folder, port, result)
            else:
                _switch(box, versions[turn % 2])
                _reload(serving, result)
            result.count += 1
        time.sleep(0.3)
    finally:
        load.stopping = True
        clients.join(60)
        stop_now(serving.process)
    result.tally = load.tally
    return result


def _stop_and_start(
    box: Box, serving: Serving, folder: Path, port: int, result: Restarts
) -> Serving:
    serving.process.send_signal(signal.SIGTERM)
    status = serving.process.wait(30)
    if status != 0:
        result.problems.append(f"SIGTERM ended it with {status}")
    return start(box, folder / "serve.log", "--port", str(port))


def _reload(serving: Serving, result: Restarts) -> None:
    def switched() -> int:
        return sum(each["event"] == "release switched" for each in serving.events())

    before = switched()
    serving.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + START_S
    while switched() == before:
        if serving.process.poll() is not None or time.monotonic() > deadline:
            result.problems.append(f"not reloaded: {serving.events()[-1:]}")
            return
        time.sleep(0.01)


def _two_versions(box: Box, folder: Path) -> tuple[Path, Path]:
    """The box's release, and the same model as its next version."""
    newer = folder / "newer"
    shutil.copytree(box.release, newer)
    manifest = parse_manifest((newer / "manifest.json").read_bytes())
    model = dataclasses.replace(manifest.model, version=_NEWER)
    (newer / "manifest.json").write_bytes(dataclasses.replace(manifest, model=model).to_bytes())
    return box.release, newer


def _switch(box: Box, release: Path) -> None:
    """Makes a release the current one as an install does: by one rename."""
    draft = box.release.with_name("draft")
    draft.symlink_to(release)
    os.replace(draft, box.release)


def _without_version(body: bytes) -> bytes:
    return body.replace(b'"1.0.1"', b'"1.0.0"').replace(b'"1000001"', b'"1000000"')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the campaign for a person and prints what happened; 1 when it failed."""
    parser = argparse.ArgumentParser(
        description="Stop or reload a runner under load.",
        epilog="example: python -m tests.campaigns.restarts --how stop --count 100",
    )
    parser.add_argument("--how", choices=HOWS, default="stop")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", type=RuntimeName, default=RuntimeName.LITERT)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = make_box(folder / "box", options.runtime)
        result = restarts(box, folder, options.count, options.how, seed=options.seed)
    print(json.dumps(result.to_json()) if options.json else describe(result, options.how))
    return 0 if result.ok else 1


def describe(result: Restarts, how: str) -> str:
    """Writes the result in a few lines."""
    tally = result.tally
    lines = [f"{result.count} times {how}: {tally.sent:,} requests, {tally.answered:,} answered"]
    lines.append(f"{tally.reopened} connections closed after an answer, {tally.refused} not taken")
    lines += [f"LOST {name}: {count}" for name, count in tally.lost.items()]
    lines += [f"WRONG {name}: {count}" for name, count in tally.wrong.items()]
    lines += [f"PROBLEM {problem}" for problem in result.problems]
    lines.append("nothing was lost: ok" if result.ok else "FAILED")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
