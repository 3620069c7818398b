"""What the end-to-end tests share: the command line as a process, one cache, one full build."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate import Root, make_root
from edgepack.build.emulate.root import check_tools
from edgepack.build.targets import load_target
from tests.e2e.builds import ESHOP_COLUMNS, Cli, CliResult, FullBuild
from tests.e2e.debian import unpack_package
from tests.e2e.images import Storage, push_base, registry_running
from tests.e2e.postgresql import PostgreSQL, postgresql_programs, postgresql_running
from tests.e2e.workshop import Workshop, make_workshop


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_children() -> Iterator[None]:
    """A shell starts a background job with Ctrl-C ignored, and every child would inherit that.

    A handler is not inherited: with one in place children start with the default.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole run, all workers; EDGEPACK_TEST_CACHE keeps it between runs."""
    if kept := os.environ.get("EDGEPACK_TEST_CACHE"):
        return Path(kept)
    if "PYTEST_XDIST_WORKER" in os.environ:
        return tmp_path_factory.getbasetemp().parent / "cache"
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run_cli(cache_dir: Path, repository: Path) -> Cli:
    """Runs `edgepack` as a process with the shared cache."""

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float = 1500,
    ) -> CliResult:
        done = subprocess.run(
            [sys.executable, "-m", "edgepack.cli.main", *map(str, arguments)],
            cwd=cwd or repository,
            env={
                **os.environ,
                "EDGEPACK_CACHE": str(cache_dir),
                "PYTHONPATH": str(repository),
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return CliResult(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def full_build(
    run_cli: Cli, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> FullBuild:
    """Builds `session` on the clothing shop for arm64, arm64-tiny and cpu, once."""
    out = tmp_path_factory.mktemp("dist")
    log = test_data / "eshop_clothing" / "e-shop-clothing-2008.zip"
    arguments = (
        *("build", "--data", str(log), *ESHOP_COLUMNS),
        *("--target", "arm64", "--target", "arm64-tiny", "--target", "cpu", "--json"),
    )
    result = run_cli(*arguments, "--out", out)
    assert result.status == 0, result.stderr
    return FullBuild(out, arguments, result.value)


@pytest.fixture(scope="session")
def image_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An empty storage of buildah's."""
    for program in ("buildah", "docker-registry", "bwrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with Storage(tmp_path_factory.mktemp("storage")) as storage:
        yield storage


@pytest.fixture(scope="session")
def image_registry(
    image_storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A registry that lets everyone in."""
    with registry_running(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def image_base(
    image_registry: str, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A published base for both platforms: Debian 12's Python and no more."""
    if problems := check_tools("aarch64"):
        pytest.skip("; ".join(map(str, problems)))
    roots = {
        architecture: make_root(load_target(target), Cache(cache_dir)).path
        for architecture, target in (("arm64", "arm64"), ("amd64", "cpu"))
    }
    name = f"{image_registry}/base:bookworm"
    push_base(roots, name, tmp_path_factory.mktemp("base"))
    return name


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Workshop:
    """A user's folder with a tiny model project of their own."""
    return make_workshop(tmp_path_factory.mktemp("workshop"), repository)


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache that no earlier run has filled, so that what is proved was proved now."""
    return Cache(tmp_path_factory.mktemp("own-cache"))


@pytest.fixture(scope="session")
def arm_root(own_cache: Cache) -> Root:
    """A root of the target arm64."""
    target = load_target("arm64")
    if problems := check_tools(target.arch):
        pytest.skip("; ".join(str(each) for each in problems))
    return make_root(target, own_cache)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL; each test makes a database of its own."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("postgresql is not installed")
    with postgresql_running(programs) as server:
        yield server


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of Debian's package."""
    return unpack_package("nginx", tmp_path_factory.mktemp("nginx")) / "usr" / "sbin" / "nginx"
