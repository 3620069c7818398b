"""A runner is killed a hundred times at random points: `python -m tests.campaigns.kills`.

On one box, all at once: a server under load, a benchmark, a program that spools reports as fast
as it may, and a sender to a hub on loopback. Each round one of them, chosen and timed by a
seeded generator, gets a kill -9. Afterwards every program starts again by itself, the golden
answers come out right, every file of the state parses, every report that was accepted reached
the hub, and the hub saw no id with two bodies.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgepack.formats.variants import RuntimeName
from edgepack.runner.durable import is_temporary
from edgepack.runner.reports.spool import Spool
from edgepack.runner.settings import SETTINGS_FILE
from tests.campaigns.boxes import Box, Serving, make_box, start, stop_now
from tests.campaigns.load import Load, mixed_asks
from tests.e2e.hubs import Hub, answering, running_hub
from tests.e2e.real_models import runner_environment

VICTIMS = ("serve", "bench", "spool", "send")
#: A start takes about half a second, a quick benchmark several.
_LONGEST_WAIT_S = 2.5

#: Prints a report's id once `add` has returned, which is the promise that is tested.
_SPOOL = """
import json, random, sys, time, uuid
from pathlib import Path
from edgepack.runner.reports.spool import Spool
spool, chance = Spool(Path(sys.argv[1])), random.Random()
while True:
    report_id = str(uuid.uuid4())
    body = {"report_id": report_id, "filling": "x" * chance.randrange(20_000)}
    spool.add(report_id, json.dumps(body).encode())
    print(report_id, flush=True)
    time.sleep(0.02)
"""


@dataclass(slots=True)
class Kills:
    """How a campaign went.

    Attributes:
        kills: How many of each program.
        before_listening: Kills of a server that had not opened its port yet.
        problems: Everything that should not have been, in words.
        accepted: Reports that a program said were kept.
        delivered: Reports that the hub has.
        answered: Requests the clients got an answer to.
        cut: Requests that went down with the server; wrong answers are problems.
    """

    kills: Counter[str] = field(default_factory=Counter)
    before_listening: int = 0
    problems: list[str] = field(default_factory=list)
    accepted: int = 0
    delivered: int = 0
    answered: int = 0
    cut: int = 0

    def to_json(self) -> dict[str, object]:
        """Returns the result as a JSON object."""
        return {
            "kills": dict(self.kills),
            "before_listening": self.before_listening,
            "problems": self.problems,
            "accepted_reports": self.accepted,
            "delivered_reports": self.delivered,
            "answered_requests": self.answered,
            "requests_cut_by_a_kill": self.cut,
        }


class Programs:
    """The programs of one box; each is started again when it is gone."""

    def __init__(self, box: Box, folder: Path, url: str) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.box = box
        self._folder = folder
        self._url = url
        self._count = 0

    def command(self, name: str) -> list[str]:
        """How a program other than the server is started."""
        if name == "bench":
            return self.box.command("bench", "--json", "--while-serving")
        if name == "send":
            return self.box.command("report", "--send", self._url)
        return [sys.executable, "-c", _SPOOL, str(self.box.state / "spool")]

    def ensure(self, name: str) -> None:
        """Starts a program unless it runs."""
        if name not in self.running or self.running[name].poll() is not None:
            self._count += 1
            output = self._folder / f"{name}-{self._count}.out"
            with output.open("wb") as out, output.with_suffix(".err").open("wb") as err:
                self.running[name] = subprocess.Popen(
                    self.command(name), stdout=out, stderr=err, env=runner_environment()
                )

    def kill(self, name: str) -> bool:
        """Kills a program; whether it still ran."""
        process = self.running.pop(name)
        ran = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        return ran

    def close(self) -> None:
        """Ends every program."""
        for process in self.running.values():
            stop_now(process)

    def accepted(self) -> set[str]:
        """The ids of all reports that a program said were kept."""
        found = set()
        for path in self._folder.glob("spool-*.out"):
            # The last line may be half written.
            found |= set(path.read_text().split("\n")[:-1])
        for path in self._folder.glob("bench-*.out"):
            with contextlib.suppress(ValueError):
                found.add(json.loads(path.read_bytes())["report_id"])
        return found

    def complaints(self) -> Iterator[str]:
        """What programs complained of; runtimes chat there too."""
        for path in sorted(self._folder.glob("*.err")):
            text = path.read_text()
            if any(word in text for word in ("error:", "warning:", "Traceback")):
                yield f"{path.stem}: {text.strip()[-300:]}"


class Clients:
    """A load in a thread of its own, against whichever server is up."""

    def __init__(self, box: Box) -> None:
        self._asks = mixed_asks([each.history for each in box.golden().sequences])
        self._loads: list[Load] = []
        self._threads: list[threading.Thread] = []

    def against(self, port: int) -> None:
        """Lets the clients of the last port go and starts some against this one."""
        self.leave()
        load = Load(port, self._asks, seed=len(self._loads))
        thread = threading.Thread(target=lambda: asyncio.run(load.run(4)))
        self._loads.append(load)
        self._threads.append(thread)
        thread.start()

    def leave(self) -> None:
        """Lets the present clients end after the answer they are at."""
        for load in self._loads:
            load.stopping = True
        for thread in self._threads:
            thread.join(60)
        self._threads.clear()

    def sum_up(self, result: Kills) -> None:
        """Adds what became of all requests; only a kill may lose one."""
        for load in self._loads:
            tally = load.tally
            result.answered += tally.answered
            result.cut += sum(tally.lost.values())
            result.problems += [f"wrong answer: {each}" for each in tally.wrong]
            result.problems += [f"lost: {each}" for each in tally.lost if "no answer" in each]


def kills(box: Box, folder: Path, count: int, seed: int = 1) -> Kills:
    """Runs the campaign.

    Args:
        box: Where everything runs.
        folder: Where the programs' output goes.
        count: How many kills.
        seed: Of whom they hit and when.
    """
    result, chance = Kills(), random.Random(seed)
    clients = Clients(box)
    with running_hub(answering(200)) as hub:
        # A server that sends by itself takes part in the sending too.
        settings = f'[hub]\nurl = "{hub.url}"\ninterval_s = 1\n'
        (box.state / SETTINGS_FILE).write_text(settings)
        programs = Programs(box, folder, hub.url)
        try:
            _rounds(programs, clients, chance, count, result)
            clients.leave()
            for name in ("serve", "spool"):
                if name in programs.running:
                    programs.kill(name)
            _finish(programs, hub, result)
        finally:
            clients.leave()
            programs.close()
    clients.sum_up(result)
    return result


def _rounds(
    programs: Programs, clients: Clients, chance: random.Random, count: int, result: Kills
) -> None:
    box = programs.box
    while sum(result.kills.values()) < count:
        if "serve" not in programs.running:
            serving = start(box, programs._folder / "serve.log")
            programs.running["serve"] = serving.process
            result.problems += serving.wrong_answers(box.golden())
            clients.against(serving.port)
        for name in VICTIMS[1:]:
            programs.ensure(name)
        time.sleep(chance.uniform(0, _LONGEST_WAIT_S))
        victim = chance.choice(VICTIMS)
        if programs.kill(victim):
            result.kills[victim] += 1
        if victim == "serve" and chance.random() < 0.5:
            _kill_while_it_starts(box, programs._folder, chance, result)
        result.problems += _half_files(box.state)
        if sys.stderr.isatty():
            print(f"\r{sum(result.kills.values())} kills", end="", file=sys.stderr)


def _kill_while_it_starts(box: Box, folder: Path, chance: random.Random, result: Kills) -> None:
    log = folder / "starting.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            box.command("serve", "--port", "0"), stdout=out, stderr=out, env=runner_environment()
        )
    time.sleep(chance.uniform(0, 0.6))
    result.before_listening += not any(
        e["event"] == "listening" for e in Serving(0, process, log).events()
    )
    stop_now(process)
    result.kills["serve"] += 1


def _half_files(state: Path) -> list[str]:
    """What in the state is neither whole nor a draft that the next writer clears away."""
    problems = []
    for path in (state / "spool").iterdir() if (state / "spool").is_dir() else ():
        if path.suffix == ".json" and not is_temporary(path.name):
            # One that was sent meanwhile is gone.
            with contextlib.suppress(FileNotFoundError):
                data = path.read_bytes()
                problems += [] if _parses(data, path) else [f"half a file: {path.name}"]
    return problems


def _parses(data: bytes, path: Path) -> bool:
    try:
        return bool(json.loads(data)["report_id"] in path.name)
    except (ValueError, KeyError, TypeError):
        return False


def _finish(programs: Programs, hub: Hub, result: Kills) -> None:
    """Lets everything come to rest and settles the accounts."""
    box = programs.box
    bench = programs.running.pop("bench", None)
    if bench is not None:
        bench.wait(300)
    if "send" in programs.running:
        programs.running.pop("send").wait(300)
    spool = Spool(box.state / "spool")
    for _ in range(20):
        done = box.run("report", "--send", hub.url)
        if done.returncode == 0 and not spool.waiting():
            break
    serving = start(box, programs._folder / "last.log")
    try:
        result.problems += serving.wrong_answers(box.golden())
    finally:
        stop_now(serving.process)
    spool.add("00000000-0000-4000-8000-000000000000", b"{}")
    left = [path.name for path in (box.state / "spool").iterdir() if is_temporary(path.name)]
    bodies: dict[str, set[bytes]] = {}
    for headers, body in hub.posts:
        bodies.setdefault(headers["Idempotency-Key"], set()).add(body)
    accepted = programs.accepted()
    lost = accepted - set(bodies)
    result.accepted, result.delivered = len(accepted), len(bodies)
    result.problems += [f"accepted and never delivered: {each}" for each in sorted(lost)]
    result.problems += [f"one id, two bodies: {k}" for k, found in bodies.items() if len(found) > 1]
    result.problems += [f"half a report delivered: {k}" for k, b in bodies.items() if not _whole(b)]
    result.problems += [f"a draft was left: {name}" for name in left]
    result.problems += list(programs.complaints())
    if spool.dropped():
        result.problems.append(f"{spool.dropped()} reports were dropped or torn")


def _whole(bodies: set[bytes]) -> bool:
    try:
        return all("report_id" in json.loads(body) for body in bodies)
    except ValueError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the campaign for a person and prints what happened; 1 when it failed."""
    parser = argparse.ArgumentParser(
        description="Kill a box's programs at random points and settle the accounts.",
        epilog="example: python -m tests.campaigns.kills --kills 100",
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", type=RuntimeName, default=RuntimeName.LITERT)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = make_box(folder / "box", options.runtime)
        (folder / "output").mkdir()
        result = kills(box, folder / "output", options.kills, options.seed)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        print(describe(result))
    return 1 if result.problems else 0


def describe(result: Kills) -> str:
    """Writes the result as a table."""
    lines = [f"{name:<8}{result.kills[name]:>6} kills" for name in VICTIMS]
    lines.append(f"{result.before_listening} of the server's before it listened")
    lines.append(f"{result.accepted} reports accepted, {result.delivered} delivered")
    lines.append(f"{result.answered:,} requests answered, {result.cut} went down with the server")
    lines += [f"PROBLEM {problem}" for problem in result.problems]
    lines.append("FAILED" if result.problems else "nothing was lost: ok")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
