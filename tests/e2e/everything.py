"""Does on a box whatever a runner can be asked to do; the standard library only.

    python3 everything.py ROOT

Run by `test_site_trace` inside an emulated box, where it is copied to. It fails when a command or a
request does.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

_PORT = 8765
_BASE = f"http://127.0.0.1:{_PORT}"
_COMMANDS = (
    ("check",),
    ("check", "--json"),
    ("status", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("bench", "--duration", "quick", "--out", "/tmp/bench.json"),
    ("report", "--show"),
    ("reset-id",),
)


def main(root: Path) -> int:
    """Serves, asks in every protocol, then runs every other command; returns an exit status."""
    runner = str(root / "bin" / "edgepack-runner")
    daemon = subprocess.Popen([runner, "serve", "--host", "127.0.0.1", "--port", str(_PORT)])
    try:
        wait_for_it(daemon)
        ask_for_everything(root)
        subprocess.run([runner, "status", "--live"], check=True)
    finally:
        daemon.terminate()
        ended = daemon.wait()
    for command in _COMMANDS:
        subprocess.run([runner, *command], check=True, stdout=subprocess.DEVNULL)
    return ended


def wait_for_it(daemon: subprocess.Popen[bytes]) -> None:
    """Waits until the daemon answers."""
    for _ in range(600):
        try:
            ask("/healthz")
        except OSError:
            if daemon.poll() is not None:
                raise
            time.sleep(0.3)
        else:
            return
    raise TimeoutError("the runner did not get ready")


def ask_for_everything(root: Path) -> None:
    """Asks once in each protocol and form."""
    (golden,) = (root / "current" / "golden").iterdir()
    history = json.loads(golden.read_text())["sequences"][-1]["history"]
    ask("/recommend", {"history": history, "k": 10})
    ask("/recommend", {"history": ["not an item"], "k": 3})
    for path in ("/metrics", "/v2", "/v2/health/ready", "/v2/health/live"):
        ask(path)
    name = json.loads(ask("/v2/repository/index", {}))[0]["name"]
    triton, serving = f"/v2/models/{name}", f"/v1/models/{name}"
    (given,) = json.loads(ask(triton))["inputs"]
    length = given["shape"][-1]
    indices = [1] * length
    tensor = {"name": given["name"], "datatype": "INT32", "shape": [1, length]}
    ask(f"{triton}/infer", {"inputs": [{**tensor, "data": indices}]})
    items = {**tensor, "datatype": "BYTES", "shape": [1, len(history)], "data": history}
    ask(f"{triton}/infer", {"inputs": [items]})
    data = struct.pack(f"<{length}i", *indices)
    head = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    binary = {
        "Inference-Header-Content-Length": str(len(text)),
        "Content-Type": "application/octet-stream",
    }
    ask(f"{triton}/infer", text + data, binary)
    for path in (f"{triton}/stats", serving, f"{serving}/metadata"):
        ask(path)
    ask(f"{serving}:predict", {"instances": [indices]})
    ask(f"{serving}:predict", {"instances": [history]})
    packed = gzip.compress(json.dumps({"inputs": [indices]}).encode())
    ask(f"{serving}:predict", packed, {"Content-Encoding": "gzip"})


def ask(path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """Sends one request; anything but a success is an exception."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(_BASE + path, data, sent)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    os.environ.setdefault("LANG", "C.UTF-8")
    sys.exit(main(Path(sys.argv[1])))
