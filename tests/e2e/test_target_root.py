"""A target's root: closed to the host, whole or not there."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate import Bind, Root, RootUnavailableError, make_root, run_in_root
from edgepack.build.emulate import sandbox as sandbox_module
from edgepack.build.emulate.root import check_tools
from edgepack.build.targets import load_target
from tests.e2e.making import start_making


@pytest.mark.parametrize("fallback", [False, True])
def test_a_root_shows_no_host_and_no_network(
    fallback: bool, arm_root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fallback:
        if os.geteuid() != 0:
            pytest.skip("chroot is for root only")
        monkeypatch.setattr(sandbox_module, "_bubblewrap_works", lambda: False)
    (tmp_path / "note").write_text("seen")
    program = textwrap.dedent("""
        import os, platform, socket
        print(platform.machine(), "HOST_SECRET" in os.environ)
        print([(folder, sorted(files)) for folder, _, files in os.walk("/sys") if files])
        print(open("/mnt/given/note").read())
        for path in ("/etc/new", "/mnt/given/new"):
            try:
                open(path, "w")
                print("wrote", path)
            except OSError as error:
                print("refused", path)
        try:
            socket.create_connection(("192.0.2.1", 9), 5)
        except OSError as error:
            print(error.strerror)
    """)
    monkeypatch.setenv("HOST_SECRET", "1")
    result = run_in_root(
        arm_root, ["python3", "-I", "-c", program], binds=[Bind(tmp_path, "given")], timeout_s=60
    )
    assert result.ok, result.stderr
    assert result.stdout.splitlines() == [
        "aarch64 False",
        "[('/sys/devices/system/cpu', ['online', 'possible', 'present'])]",
        "seen",
        "refused /etc/new",
        "refused /mnt/given/new",
        "Network is unreachable",
    ]
    died = run_in_root(
        arm_root, ["python3", "-c", "import os; os.kill(os.getpid(), 11)"], timeout_s=60
    )
    assert died.signal == "SIGSEGV"


def test_a_mirror_that_does_not_answer_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(RootUnavailableError) as caught:
        make_root(load_target("arm64"), cache, mirror=f"file://{tmp_path}/no-mirror")
    assert caught.value.exit_code == 4
    assert "mirror" in (caught.value.hint or "")
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert not (tmp_path / "cache" / "root").exists()


def test_ctrl_c_while_a_root_is_made_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    if check_tools("aarch64"):
        pytest.skip("no tools to make a root with")
    drafts = tmp_path / "cache" / "tmp"
    child = start_making("root", tmp_path / "cache", repository)
    deadline = time.monotonic() + 60
    while not list(drafts.glob("root-*/mmdebstrap.*/*")):
        assert time.monotonic() < deadline
        assert child.poll() is None, "it was done before it could be stopped"
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode not in (0, None)
    assert not list(drafts.iterdir())
    assert not (tmp_path / "cache" / "root").exists()
