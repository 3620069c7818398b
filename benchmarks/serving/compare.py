"""Compares servers of the same model, in turns, and reports ratios.

    python -m benchmarks.serving.compare                       builds what it needs first
    python -m benchmarks.serving.compare --litert A.pyz --onnx B.pyz --rounds 5

The server has one core and the load the other. Needs Debian's `wrk`, and the `bench` extra for
FastAPI. Every server is alone on the machine while it is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("recommend.lua")
_MODEL = "bilstm"
_START_S = 60.0
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


def main() -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments()
    if shutil.which("wrk") is None:
        print("error: wrk is missing; apt-get install wrk", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory() as folder:
        roots = {
            "litert": install(options.litert or build("litert", Path(folder)), Path(folder)),
            "onnx": install(options.onnx or build("onnxruntime", Path(folder)), Path(folder)),
        }
        rounds: dict[str, list[dict[str, float]]] = {}
        for number in range(options.rounds):
            for name, measure in contestants(roots, options.seconds).items():
                print(f"round {number + 1}: {name}", file=sys.stderr)
                rounds.setdefault(name, []).append(measure())
    table = {
        name: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for name, found in rounds.items()
    }
    report = {"medians": table, "ratios": ratios(table), "rounds": rounds}
    print(json.dumps(report, indent=2) if options.json else describe(report))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litert", type=Path, help="a bundle for this machine with LiteRT")
    parser.add_argument("--onnx", type=Path, help="a bundle for this machine with ONNX Runtime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def build(runtime: str, folder: Path) -> Path:
    """Builds the model's dynamic int8 bundle for this machine."""
    kind = "tflite" if runtime == "litert" else "onnx"
    out = folder / runtime
    command = [sys.executable, "-m", "edgepack.cli.main", "build", "--model", _MODEL]
    command += ["--target", "cpu", "--runtime", runtime, "--out", str(out)]
    command += ["--variant", f"{kind}-dynamic-int8", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (bundle,) = out.glob("*.pyz")
    return bundle


def install(bundle: Path, folder: Path) -> Path:
    """Installs a bundle and returns its root."""
    root = Path(tempfile.mkdtemp(dir=folder)) / "root"
    python = shutil.which("python3") or sys.executable
    subprocess.run(
        [python, str(bundle), "install", "--root", str(root)], check=True, capture_output=True
    )
    return root


def contestants(roots: dict[str, Path], seconds: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Returns what is compared: name and what measures it once."""
    repository = Path(__file__).resolve().parents[2]
    raw = [interpreter(roots["litert"]), "-m", "benchmarks.serving.raw_loop"]
    bare = [interpreter(roots["litert"]), "-m", "benchmarks.serving.bare_asyncio"]
    fastapi = [sys.executable, "-m", "benchmarks.serving.fastapi_app"]

    def runner(root: Path) -> Callable[[], dict[str, float]]:
        command = [str(root / "bin" / "edgepack-runner"), "serve", "--port"]
        return lambda: measure_server([*command, "{port}"], repository, seconds)

    return {
        "raw loop": lambda: measure_loop([*raw, str(roots["litert"] / "current")], repository),
        "raw loop, ONNX Runtime": lambda: measure_loop(
            [*raw, str(roots["onnx"] / "current")], repository
        ),
        "bare asyncio": lambda: measure_server(
            [*bare, str(roots["litert"] / "current"), "--port", "{port}"], repository, seconds
        ),
        "edgepack-runner": runner(roots["litert"]),
        "edgepack-runner, ONNX Runtime": runner(roots["onnx"]),
        "FastAPI + ONNX Runtime": lambda: measure_server(
            [*fastapi, str(roots["onnx"] / "current"), "--port", "{port}"], repository, seconds
        ),
    }


def interpreter(root: Path) -> str:
    """Returns the Python that an installed root runs with."""
    first = (root / "bin" / "edgepack-runner").read_text().splitlines()[0]
    return first.removeprefix("#!").split()[0]


def measure_loop(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Runs the raw loop on the server's core."""
    done = subprocess.run(
        ["taskset", "-c", server_core(), *command], cwd=folder, check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_server(command: Sequence[str], folder: Path, seconds: int) -> dict[str, float]:
    """Starts a server, loads it, and ends it."""
    with serving(command, folder) as (process, port, cold_s):
        load(port, 16, 1)
        many, one = load(port, 16, seconds), load(port, 1, seconds)
        return {
            "requests_per_s": many["requests_per_s"],
            "p50_us": one["p50_us"],
            "p99_us": one["p99_us"],
            "p99_us_at_16": many["p99_us"],
            "pss_mb": pss_mb(process.pid),
            "cold_s": cold_s,
        }


@contextlib.contextmanager
def serving(
    command: Sequence[str], folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """Runs a server on the first core; yields it, its port and the seconds to a first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    filled = [part.replace("{port}", str(port)) for part in command]
    begin = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", server_core(), *filled],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - begin > _START_S:
                raise SystemExit(f"error: did not start: {' '.join(filled)}")
            time.sleep(0.002)
        yield process, port, time.perf_counter() - begin
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """Whether a recommendation is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/recommend", '{"history": ["sku-00001"]}', headers)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def load(port: int, connections: int, seconds: int) -> dict[str, float]:
    """Loads a server from the other core with wrk."""
    command = ["taskset", "-c", load_core(), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["--latency", "-s", str(_SCRIPT), f"http://127.0.0.1:{port}/recommend"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(f"error: not every request was answered:\n{text}")

    def latency_us(percent: int) -> float:
        match = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", text)
        assert match is not None, text
        return float(match[1]) * _UNITS_US[match[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return {
        "requests_per_s": float(rate[1]),
        "p50_us": latency_us(50),
        "p99_us": latency_us(99),
    }


def server_core() -> str:
    """The core servers run on."""
    return str(min(os.sched_getaffinity(0)))


def load_core() -> str:
    """The core the load comes from; the same one where there is only one."""
    return str(max(os.sched_getaffinity(0)))


def pss_mb(process_id: int) -> float:
    """Returns a process's proportional set size in MB."""
    text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1000


def ratios(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns the figures that are aimed at."""
    ours, raw = table["edgepack-runner"], table["raw loop"]
    others = table["FastAPI + ONNX Runtime"]
    ours_onnx = table["edgepack-runner, ONNX Runtime"]
    raw_onnx = table["raw loop, ONNX Runtime"]
    return {
        "requests per second / raw loop": ours["requests_per_s"] / raw["requests_per_s"],
        "the same, bare asyncio": table["bare asyncio"]["requests_per_s"] / raw["requests_per_s"],
        "the same, ONNX Runtime": ours_onnx["requests_per_s"] / raw_onnx["requests_per_s"],
        "p50 at one connection - raw call, us": ours["p50_us"] - raw["call_us"],
        "PSS - raw loop, MB": ours["pss_mb"] - raw["pss_mb"],
        "cold start, s": ours["cold_s"],
        "requests per second / FastAPI": ours_onnx["requests_per_s"] / others["requests_per_s"],
        "p50 / FastAPI": ours_onnx["p50_us"] / others["p50_us"],
        "PSS / FastAPI": ours_onnx["pss_mb"] / others["pss_mb"],
    }


def describe(report: dict[str, Any]) -> str:
    """Returns the report in words."""
    columns = ("requests_per_s", "p50_us", "p99_us", "p99_us_at_16", "pss_mb", "cold_s", "call_us")
    lines = [f"{'median of rounds':<30}" + "".join(f"{name:>16}" for name in columns)]
    for name, row in report["medians"].items():
        cells = (f"{row[key]:>16,.2f}" if key in row else f"{'-':>16}" for key in columns)
        lines.append(f"{name:<30}" + "".join(cells))
    lines += [f"{name:<40}{value:>10.3f}" for name, value in report["ratios"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
