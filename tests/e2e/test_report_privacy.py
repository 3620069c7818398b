"""A report made on a box that serves shoppers: nothing in it says who they or the box are."""

from __future__ import annotations

import dataclasses
import getpass
import http.client
import itertools
import json
import random
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgepack.formats.report import check_report
from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import (
    ITEMS,
    make_tflite,
    port_of,
    runner_command,
    runner_environment,
    write_real_release,
)

_QUANTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")
_REFERENCE = {
    "history_length": {"counts": [0, 9, 9, 9, 9, 9, 9], "last_bin_is_or_more": True},
    "score_quantiles": {
        "top1": dict(zip(_QUANTILES, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0), strict=True)),
        "top10": dict(zip(_QUANTILES, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0), strict=True)),
        "spread": dict(zip(_QUANTILES, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True)),
    },
}
_SESSIONS = 300
_STRANGER = "customer-4711@shop.example"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release")
    model = make_tflite(tmp_path_factory.mktemp("model"))
    manifest = write_real_release(directory, model, RuntimeName.LITERT)
    with_reference = dataclasses.replace(manifest, reference=_REFERENCE)
    (directory / "manifest.json").write_bytes(with_reference.to_bytes())
    return directory


def _shop(port: int) -> None:
    """Sessions of real items, and some things a shop should not have sent."""
    chance = random.Random(11)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(_SESSIONS):
        history = chance.choices(ITEMS, k=chance.randrange(0, 9))
        if chance.random() < 0.1:
            history.append(_STRANGER)
        body = json.dumps({"history": history, "k": 5})
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
    connection.close()


def _run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        runner_command(*arguments),
        env=runner_environment(),
        capture_output=True,
        timeout=300,
        check=True,
    )


@pytest.fixture(scope="module")
def told(release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Everything of a report that anyone gets to see, by where."""
    state = tmp_path_factory.mktemp("state-of-the-shop-in-Hafenstrasse")
    places = ("--release", str(release), "--state", str(state))
    process = subprocess.Popen(
        runner_command("serve", "--port", "0", *places),
        env=runner_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    try:
        _shop(port_of(process))
        # Measured while the daemon runs, and again when it has written its last. It may still be
        # at work on the shop's requests.
        _run("bench", "--while-serving", *places)
        process.send_signal(signal.SIGTERM)
        log = "".join(process.communicate())
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    bench = _run("bench", *places, "--out", str(state / "report.json"))
    spooled = sorted((state / "spool").glob("*.json"))
    assert len(spooled) == 2
    return {
        "spooled": b"\n".join(path.read_bytes() for path in spooled),
        "written": (state / "report.json").read_bytes(),
        "shown": _run("report", "--show", *places).stdout,
        "said": bench.stdout + bench.stderr,
        "log": log.encode(),
        "paths": f"{release}\n{state}\n{state.name}\n{state.parent}".encode(),
    }


def _addresses() -> Iterator[str]:
    for each in itertools.chain.from_iterable(psutil.net_if_addrs().values()):
        address = each.address.partition("%")[0]
        if each.family in (socket.AF_INET, socket.AF_INET6, psutil.AF_LINK):
            yield address
            yield address.replace(":", "-")


def _has_word(word: str, text: str) -> bool:
    """Whether a word stands alone in a text: a name such as `box` may be part of others."""
    return re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])", text) is not None


@pytest.mark.parametrize("where", ["spooled", "written", "shown"])
def test_no_item_shopper_or_box_can_be_known_from_a_report(
    told: dict[str, bytes], where: str
) -> None:
    text = told[where].decode()
    for item in ITEMS:
        assert item not in text
    assert _STRANGER not in text
    for address in _addresses():
        assert not _has_word(address, text), address
    for name in {socket.gethostname(), socket.getfqdn(), getpass.getuser()}:
        assert not _has_word(name, text), name
    for path in told["paths"].decode().splitlines():
        assert path not in text


def test_the_test_would_see_what_it_looks_for() -> None:
    text = json.dumps({"host": "till-3", "path": "/srv/box", "at": "10.0.0.7"})
    assert _has_word("till-3", text)
    assert _has_word("10.0.0.7", text)
    assert not _has_word("10.0.0", text)
    assert any(_addresses())


def test_neither_the_log_nor_the_summary_has_an_item_in_it(told: dict[str, bytes]) -> None:
    for where in ("log", "said"):
        text = told[where].decode()
        assert "sku-" not in text
        assert _STRANGER not in text


def test_what_is_shown_is_what_is_sent(told: dict[str, bytes]) -> None:
    decoder, text, shown = json.JSONDecoder(), told["shown"].decode(), []
    while text.strip():
        document, end = decoder.raw_decode(text := text.lstrip())
        shown.append(document)
        text = text[end:]
    assert shown == [json.loads(line) for line in told["spooled"].splitlines()]
    assert all(check_report(each) == [] for each in shown)


def test_what_was_served_is_in_the_report_as_counts(told: dict[str, bytes]) -> None:
    drift = json.loads(told["written"])["drift"]
    assert drift["histories"] == _SESSIONS
    assert drift["unknown_items"] > 0
