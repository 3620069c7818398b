"""Reports on their way to real hubs on loopback: down, busy, slow, lying, and a kill -9."""

from __future__ import annotations

import io
import itertools
import json
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.runner.clock import SystemClock
from edgepack.runner.log import Log
from edgepack.runner.reports.delivery import Verdict
from edgepack.runner.reports.sender import ReportSender
from edgepack.runner.reports.spool import Spool
from edgepack.runner.reports.transport import HttpTransport
from edgepack.runner.settings import HubSection
from tests.e2e.hubs import (
    Behaviour,
    answering,
    dripping,
    free_port,
    running_hub,
    sending,
    silent_until,
)
from tests.e2e.real_models import runner_command, runner_environment

_PATIENCE_S = 60


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


def _filled(state: Path, count: int) -> Spool:
    spool = Spool(state / "spool")
    for number in range(1, count + 1):
        spool.add(_id(number), json.dumps({"report_id": _id(number)}).encode())
    return spool


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _quick(url: str) -> HttpTransport:
    return HttpTransport(url, timeout_s=0.5, deadline_s=0.5)


def _sender(spool: Spool, url: str, log: io.StringIO) -> ReportSender:
    clock = SystemClock()
    return ReportSender(
        spool,
        lambda: _quick(url),
        HubSection(url=url, interval_s=0.02, max_backoff_s=0.1),
        clock,
        Log(log, clock),
        chance=random.Random(1),
    )


def test_a_hub_that_is_down_then_busy_then_slow_gets_every_report_once_in_the_end(
    tmp_path: Path,
) -> None:
    spool, port, log = _filled(tmp_path, 3), free_port(), io.StringIO()
    sender = _sender(spool, f"http://127.0.0.1:{port}/reports", log)
    sender.start()
    try:
        _until(lambda: sender.state.failures >= 3)
        assert "refused" in (sender.state.last_trouble or "")
        script = (
            answering(503, b'{"error":"busy"}', Retry_After="1"),
            dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "),
            answering(200),
        )
        with running_hub(*script, port=port) as hub:
            _until(lambda: sender.state.accepted == 3)
    finally:
        sender.stop()
    assert hub.ids() == [_id(1), _id(1), _id(1), _id(2), _id(3)]
    assert {body for _, body in hub.posts[:3]} == {hub.posts[0][1]}, "the same report again"
    assert spool.waiting() == []
    troubles = [
        json.loads(line)["trouble"] for line in log.getvalue().splitlines() if "trouble" in line
    ]
    assert any("HTTP 503" in each for each in troubles)
    assert any("no end within 0.5 s" in each for each in troubles)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (sending(b"\x00\xff garbage\r\n\r\n"), ""),
        (sending(b""), ""),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Verdict.ACCEPTED),
        (sending(b"HTTP/1.1 2000 OK\r\n\r\n"), ""),
        (dripping(b""), "no end within"),
        (dripping(b"HTTP/1.1 200 OK\r\nA: "), "no end within"),
        (dripping(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n"), Verdict.ACCEPTED),
        (answering(302, Location="http://127.0.0.1:1/elsewhere"), "HTTP 302"),
        (answering(307, Location="http://127.0.0.1:1/elsewhere"), "HTTP 307"),
        (answering(200, b"<html>sign in</html>", Content_Type="text/html"), "a web page"),
        (answering(500, b"\xff" * 100), "HTTP 500"),
        (answering(401), "HTTP 401"),
        (answering(409), Verdict.ACCEPTED),
        (answering(422, b"not a report"), Verdict.REFUSED),
        (answering(200, b"x" * 1_000_000), Verdict.ACCEPTED),
    ],
)
def test_whatever_a_hub_says_a_report_is_kept_unless_it_was_taken_or_judged(
    behaviour: Behaviour, expected: str
) -> None:
    with running_hub(behaviour) as hub:
        delivery = _quick(hub.url).send(_id(1), b"{}")
    if isinstance(expected, Verdict):
        assert delivery.verdict is expected
    else:
        assert delivery.verdict is Verdict.UNREACHABLE
        assert expected in delivery.detail
    assert delivery.detail
    assert len(hub.posts) == 1, "no redirect is followed"


def test_a_stop_does_not_wait_for_a_hub_that_says_nothing(tmp_path: Path) -> None:
    spool, released, log = _filled(tmp_path, 1), threading.Event(), io.StringIO()
    clock = SystemClock()
    with running_hub(silent_until(released)) as hub:
        sender = ReportSender(
            spool,
            # Longer than the test's patience: only the stop can end it.
            lambda: HttpTransport(hub.url, timeout_s=600, deadline_s=600),
            HubSection(url=hub.url, interval_s=0.01, max_backoff_s=0.1),
            clock,
            Log(log, clock),
            chance=random.Random(1),
        )
        sender.start()
        assert hub.arrived.wait(_PATIENCE_S)
        sender.stop(timeout_s=_PATIENCE_S)
        assert not sender._thread.is_alive()
        released.set()
    assert [each.report_id for each in spool.waiting()] == [_id(1)]
    assert log.getvalue() == "", "a stop is no trouble"


def test_a_kill_between_the_hubs_taking_and_the_removal_sends_the_same_id_again(
    tmp_path: Path,
) -> None:
    spool, released = _filled(tmp_path, 2), threading.Event()
    command = runner_command(
        *("report", "--release", str(tmp_path), "--state", str(tmp_path), "--send")
    )
    with running_hub(silent_until(released), answering(200)) as hub:
        first = subprocess.Popen([*command, hub.url], env=runner_environment())
        assert hub.arrived.wait(_PATIENCE_S)
        first.send_signal(signal.SIGKILL)
        first.wait(_PATIENCE_S)
        released.set()
        assert len(spool.waiting()) == 2
        again = subprocess.run(
            [*command, hub.url],
            env=runner_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    assert "2 accepted, 0 refused, 0 still waiting" in again.stdout
    assert hub.ids() == [_id(1), _id(1), _id(2)]
    assert hub.posts[0][1] == hub.posts[1][1]
    assert len({headers["Idempotency-Key"] for headers, _ in hub.posts}) == 2


def test_the_settings_file_names_hub_token_and_certificate(tmp_path: Path) -> None:
    spool = _filled(tmp_path, 1)
    certificate, key = tmp_path / "hub.pem", tmp_path / "hub.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    (tmp_path / "token").write_text("secret-token\n")
    (tmp_path / "token").chmod(0o600)
    command = runner_command(
        *("report", "--send", "--release", str(tmp_path), "--state", str(tmp_path))
    )
    with running_hub(answering(200), tls=context) as hub:
        for lines, status in (('ca_file = "hub.pem"', 0), ("", 9)):
            (tmp_path / "runner.toml").write_text(
                f'[hub]\nurl = "{hub.url}"\ntoken_file = "token"\n{lines}\n'
            )
            spool.add(_id(5), b"{}")
            ended = subprocess.run(
                command, env=runner_environment(), capture_output=True, text=True, check=False
            )
            assert ended.returncode == status, ended.stderr
        assert "CERTIFICATE_VERIFY_FAILED" in ended.stderr
    assert {headers["Authorization"] for headers, _ in hub.posts} == {"Bearer secret-token"}
    assert hub.ids() == [_id(1), _id(5)]


_ADD_FOR_EVER = """
import sys, uuid
from pathlib import Path
from edgepack.runner.reports.spool import Spool
spool = Spool(Path(sys.argv[1]), max_count=30)
while True:
    report_id = str(uuid.uuid4())
    spool.add(report_id, (report_id * 200).encode())
    print(report_id, flush=True)
"""


def test_processes_that_share_a_spool_and_are_killed_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    accepted: list[str] = []
    chance = random.Random(7)
    for _ in range(2):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _ADD_FOR_EVER, str(tmp_path)],
                stdout=subprocess.PIPE,
                env=runner_environment(),
                text=True,
            )
            for _ in range(3)
        ]
        for each in writers:
            assert each.stdout is not None
            lines = itertools.islice(each.stdout, chance.randrange(2, 12))
            accepted += [line.strip() for line in lines]
            each.kill()
        for each in writers:
            assert each.stdout is not None
            accepted += [line.strip() for line in each.stdout if line.endswith("\n")]
            each.stdout.close()
            each.wait(_PATIENCE_S)
    spool = Spool(tmp_path, max_count=30)
    waiting = spool.waiting()
    ids = [each.report_id for each in waiting]
    assert len(set(ids)) == len({each.sequence for each in waiting}) == len(ids) <= 30
    for report in waiting:
        assert spool.read(report) == (report.report_id * 200).encode()
    # A writer that was killed may have added one more than it could tell.
    untold = len(waiting) + spool.dropped() - len(accepted)
    assert 0 <= untold <= 6
    assert len(set(accepted) - set(ids)) <= spool.dropped()
