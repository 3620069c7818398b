"""Places on a Dask cluster: boxes that have Python and Dask, and no edgepack.

The task travels by value and the release as an archive, once to each machine. The only file that
imports `distributed`. Used by `tuning`.
"""

from __future__ import annotations

import io
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from edgepack.build.tune import task
from edgepack.build.tune.measuring import Place, TunedRelease
from edgepack.formats.errors import MissingExtraError, MissingToolError

_CONNECT: Final = "15s"
_T = TypeVar("_T")
_REGISTER: Final = threading.Lock()


class ByValue:
    """A function that travels with its code, to a process that cannot import its module.

    Dask pickles a function by its name wherever that works here, so registering its module with
    cloudpickle is not enough.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Takes the code of a function's module.

        Args:
            function: It and what it calls import only what the other side has.
        """
        import cloudpickle

        module = sys.modules[function.__module__]
        # The register is the process's, and each place has a thread of its own here.
        with _REGISTER:
            cloudpickle.register_pickle_by_value(module)
            try:
                self._code: bytes = cloudpickle.dumps(function)
            finally:
                cloudpickle.unregister_pickle_by_value(module)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it here."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        import cloudpickle

        return cloudpickle.loads, (self._code,)


class _ByValueExecutor(Executor):
    """An executor whose tasks travel with their code."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        return self._inner.submit(ByValue(fn), *args, **kwargs)


@contextmanager
def cluster_places(address: str, releases: Sequence[TunedRelease]) -> Iterator[list[Place]]:
    """Gives a place for each worker of a cluster.

    Args:
        address: The scheduler's, such as `tcp://10.0.0.7:8786`.
        releases: What is measured there; each is sent once.

    Returns:
        The places; several of them may be one machine.

    Raises:
        MissingExtraError: Dask is not installed.
        MissingToolError: The scheduler does not answer, or has no workers.
    """
    try:
        import cloudpickle  # noqa: F401
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError("distributed", "dask", "measuring on a Dask cluster") from error
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    # A wrong address is a ValueError or a failing look-up, a silent one an OSError.
    except (OSError, TimeoutError, ValueError) as error:
        raise MissingToolError(
            f"no Dask scheduler answers at {address}: {str(error) or type(error).__name__}",
            hint="start one with `dask scheduler`, and `dask worker ADDRESS` on each box",
        ) from error
    try:
        workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise MissingToolError(
                f"the Dask scheduler at {address} has no workers",
                hint=f"start `dask worker {address}` on each box that is to measure",
            )
        archives = {
            each.runtime: client.scatter(_archive(each.folder), direct=False) for each in releases
        }
        yield [
            Place(
                name=f"worker {worker}",
                executors=(
                    _ByValueExecutor(client.get_executor(workers=[worker], pure=False, retries=0)),
                ),
                releases=archives,
            )
            for worker in workers
        ]
        with suppress(Exception):
            # What is left there is a copy in a temporary folder.
            for release in releases:
                client.run(ByValue(task.forget_release), release.digest)
    finally:
        client.close(timeout=5)


def _archive(folder: Path) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return data.getvalue()
