"""The runner under a service manager: one of the tests' own, then systemd itself."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgepack.build.pack.units import TEMPLATE_PATH, service_units
from edgepack.formats.manifest import RuntimeInfo
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot.install import fill_unit
from tests.bundles import pack, this_machine, this_target
from tests.campaigns.boxes import Address, Box, make_box, serving_on
from tests.roots import put

#: In tenths, as `systemd-analyze security` wants it: 0 is a sealed box, 96 no hardening at all.
#: What is left is what a network server on the box's own system needs.
EXPOSURE_LIMIT = 16
RUNTIMES = (RuntimeName.LITERT, RuntimeName.ONNXRUNTIME)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> dict[RuntimeName, Box]:
    return {
        runtime: make_box(tmp_path_factory.mktemp("b") / "box", runtime) for runtime in RUNTIMES
    }


class ServiceManager:
    """A socket that the daemon reports to, as systemd's is."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(60)

    def hear(self) -> bytes:
        return self.socket.recv(4096)

    def hear_until(self, wanted: bytes) -> list[bytes]:
        """Every message up to the first that begins so."""
        heard = [self.hear()]
        while not heard[-1].startswith(wanted):
            heard.append(self.hear())
        return heard


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceManager, str]]:
    named = str(tmp_path / "notify") if request.param == "path" else f"@edgepack-{os.getpid()}"
    listening = ServiceManager(named.replace("@", "\0"))
    yield listening, named
    listening.socket.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_says_ready_when_it_answers_alive_while_it_does_and_stopping_when_told(
    boxes: dict[RuntimeName, Box],
    manager: tuple[ServiceManager, str],
    tmp_path: Path,
    runtime: RuntimeName,
) -> None:
    listening, named = manager
    env = {"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "200000"}
    with serving_on(boxes[runtime], tmp_path / "log", env=env) as serving:
        assert listening.hear_until(b"READY=1")[-1].endswith(
            f"STATUS=listening on http://127.0.0.1:{serving.port}".encode()
        )
        assert serving.ask("GET", "/healthz")[0] == 200
        for _ in range(5):
            assert listening.hear() == b"WATCHDOG=1"
        serving.process.send_signal(signal.SIGTERM)
        assert listening.hear_until(b"STOPPING=1")[-1].endswith(b"STATUS=stopping on SIGTERM")
        assert serving.process.wait(30) == 0


def test_a_release_that_is_refused_never_says_ready(
    boxes: dict[RuntimeName, Box], manager: tuple[ServiceManager, str], tmp_path: Path
) -> None:
    listening, named = manager
    bad = Box(tmp_path / "release", tmp_path / "state")
    shutil.copytree(boxes[RuntimeName.ONNXRUNTIME].release, bad.release)
    (model,) = (bad.release / "models").iterdir()
    model.write_bytes(model.read_bytes()[:-1])
    assert bad.run("serve", "--port", "0", env={"NOTIFY_SOCKET": named}).returncode == 7
    listening.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.hear_until(b"READY=1")


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["edgepack-runner.service", "edgepack-runner@session.service"])
def test_systemd_takes_the_units_of_an_installed_bundle(tmp_path: Path, name: str) -> None:
    root = tmp_path / "op%t" / "session"
    put(pack(tmp_path), root)
    if "@" in name:
        # As its own comment says: a copy for the whole box, and one instance for each root.
        shutil.copy(root / "systemd" / "edgepack-runner@.service", root / "systemd" / name)
    unit = str(root / "systemd" / name)
    verified = _analyze("verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    security = ("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_LIMIT}")
    exposed = _analyze(*security, unit)
    assert exposed.returncode == 0, exposed.stdout


#: Becomes a systemd of its own, in namespaces of its own, with a handful of units: nothing of
#: the machine's services is started, seen or stopped.
_BOOT = """\
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd
mount --bind "$1" /lib/systemd/system
export container=edgepack
exec /lib/systemd/systemd --system --unit=go.target --show-status=no
"""
#: The tests' Python, checkout and roots may lie in a home or in /tmp, which the unit hides.
_DROP_IN = """\
[Service]
WatchdogSec=3
RestartSec=200ms
ProtectHome=tmpfs
BindReadOnlyPaths={seen}
StandardOutput=append:{log}
StandardError=append:{log}
"""
_TARGETS = ("basic", "sysinit", "network", "shutdown", "multi-user")
_LAUNCHER = """\
#!{python}
import os, sys
sys.path.insert(0, {repository!r})
sys.pycache_prefix = {pycache!r}
os.environ["EDGEPACK_ROOT"] = {root!r}
from edgepack.runner.main import main
sys.exit(main([*sys.argv[1:], "--port", "{port}"]))
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that systemd runs, as far as these tests look at it."""

    ports: dict[RuntimeName, int]
    roots: Path

    def at(self, runtime: RuntimeName) -> Address:
        """Where the instance of a runtime listens."""
        return Address(self.ports[runtime])

    def main_process(self, runtime: RuntimeName) -> int | None:
        """The instance's process as it is numbered out here."""
        wanted = f"{self.roots / runtime}/bin/edgepack-runner".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and wanted in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        return None

    def status_of(self, runtime: RuntimeName) -> dict[str, str]:
        """`/proc/PID/status` of an instance."""
        text = Path(f"/proc/{self.main_process(runtime)}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(what: str, until: Callable[[], bool], console: Path) -> None:
    deadline = time.monotonic() + 90
    while not until():
        assert time.monotonic() < deadline, f"not in time: {what}\n{console.read_text()[-4000:]}"
        time.sleep(0.1)


def _answers(serving: Address) -> bool:
    try:
        return serving.ask("GET", "/healthz")[0] == 200
    except OSError:
        return False


def _lay_out(
    roots: Path, boxes: dict[RuntimeName, Box], repository: Path
) -> dict[RuntimeName, int]:
    ports = {runtime: _free_port() for runtime in boxes}
    for runtime, box in boxes.items():
        root = roots / runtime
        shutil.copytree(box.release, root / "current")
        (root / "state").mkdir()
        (root / "bin").mkdir()
        launcher = root / "bin" / "edgepack-runner"
        launcher.write_text(
            _LAUNCHER.format(
                python=sys.executable,
                repository=str(repository),
                pycache=str(root / "state" / "pycache"),
                root=str(root),
                port=ports[runtime],
            )
        )
        launcher.chmod(0o755)
    return ports


def _write_units(units: Path, roots: Path, seen: list[str], log: Path) -> None:
    units.mkdir()
    target = replace(this_target(this_machine()), memory_mb=1000)
    for path, template in service_units(RuntimeInfo(RuntimeName.LITERT, "2.3.0"), target).items():
        if path == TEMPLATE_PATH:
            root = roots / RUNTIMES[0]
            (units / Path(path).name).write_text(fill_unit(template.decode(), root, root / "state"))
    for name in _TARGETS:
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    wanted = " ".join(f"edgepack-runner@{runtime}.service" for runtime in RUNTIMES)
    (units / "go.target").write_text(f"[Unit]\nDescription=go\nWants={wanted}\n")
    quick = units / "edgepack-runner@.service.d"
    quick.mkdir()
    (quick / "test.conf").write_text(_DROP_IN.format(seen=" ".join(seen), log=log))


@pytest.fixture(scope="module")
def machine(
    boxes: dict[RuntimeName, Box], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Path]]:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("only root can start a systemd of its own")
    folder = tmp_path_factory.mktemp("machine")
    roots, console = folder / "roots", folder / "console"
    roots.mkdir()
    ports = _lay_out(roots, boxes, repository)
    seen = dict.fromkeys([str(repository), sys.prefix, sys.base_prefix, str(roots)])
    _write_units(folder / "units", roots, list(seen), folder / "console")
    spaces = ("--pid", "--fork", "--mount", "--uts", "--ipc", "--mount-proc", "--kill-child")
    boot = ["sh", "-c", _BOOT, "boot", str(folder / "units")]
    with console.open("ab") as output:
        process = subprocess.Popen(["unshare", *spaces, *boot], stdout=output, stderr=output)
    found = Machine(ports, roots)
    try:
        for runtime in RUNTIMES:
            _wait(f"{runtime} is up", functools.partial(_answers, found.at(runtime)), console)
        yield found, console
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_both_runtimes_answer_right_inside_the_hardened_unit(
    machine: tuple[Machine, Path], boxes: dict[RuntimeName, Box], runtime: RuntimeName
) -> None:
    found, _ = machine
    assert found.at(runtime).wrong_answers(boxes[runtime].golden()) == []
    status = found.status_of(runtime)
    assert status["Uid"].split()[0] not in ("0", str(os.geteuid()))
    assert status["CapBnd"].strip("0") == ""
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    state = found.roots / runtime / "state"
    assert str(state.stat().st_uid) == status["Uid"].split()[0]
    assert any(state.rglob("*.pyc"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_systemd_starts_a_killed_or_a_hanging_runner_again(
    machine: tuple[Machine, Path], number: signal.Signals
) -> None:
    found, console = machine
    runtime = RuntimeName.ONNXRUNTIME
    before = found.main_process(runtime)
    assert before is not None
    os.kill(before, number)
    _wait("it is replaced", lambda: found.main_process(runtime) not in (None, before), console)
    _wait("it is up again", lambda: _answers(found.at(runtime)), console)
