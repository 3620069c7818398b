"""What every test lives under: where the real data is, and what unit tests may not do."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.left_out import forbid_in_ci
from tests.side_by_side import GroupScheduling, order_of

# The time a test takes is never its result: CI's machines are slow now and then.
settings.register_profile(
    "edgepack", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("edgepack")

_REPOSITORY = Path(__file__).resolve().parent.parent
_E2E = _REPOSITORY / "tests" / "e2e"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, Any]:
    """Fails a test that CI would skip."""
    return forbid_in_ci((yield), in_ci=bool(os.environ.get("CI")))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, Any]:
    """Fails a file that CI would skip."""
    return forbid_in_ci((yield), in_ci=bool(os.environ.get("CI")))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Shares the tests out when `-n` asks for several workers."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what takes longest first."""
    items.sort(key=lambda item: order_of(item.nodeid))


class ForbiddenInUnitTestError(AssertionError):
    """A unit test started a process or opened a socket."""


@pytest.fixture(autouse=True)
def _no_processes_or_sockets(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps unit tests fast and alone: real programs and sockets belong in tests/e2e."""
    if not request.path.is_relative_to(_E2E):

        def refuse(*args: Any, **kwargs: Any) -> NoReturn:
            raise ForbiddenInUnitTestError("unit tests start no processes and open no sockets")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(os, "fork", refuse)
        monkeypatch.setattr(os, "posix_spawn", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket.socket, "bind", refuse)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real shops' logs.

    It lies beside the checkout or where EDGEPACK_TEST_DATA says. Without it the tests that
    need it fail in CI and are reported as left out elsewhere.
    """
    path = Path(os.environ.get("EDGEPACK_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real shops' logs at {path}; set EDGEPACK_TEST_DATA to their folder")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return _REPOSITORY
