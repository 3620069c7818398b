"""Reloads while requests run: SIGHUP after an install, or after the release on trial changed.

A new release is opened and proven beside the old one, which answers until then; a request that
runs keeps the release it began with. Where the new release brings another runner or runtime,
this process cannot become it: it is proven by its own runner, and the daemon makes room for a
process of it (see `handover`). A release that fails its proof changes nothing. Used by `serve`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from edgepack.formats.errors import BundleError, ConfigError, DeviceError, EdgepackError
from edgepack.formats.manifest import Manifest
from edgepack.runner.daemon.around import Around
from edgepack.runner.daemon.models import open_as, open_release, open_trial, settle
from edgepack.runner.http.app import App
from edgepack.runner.live.model import LiveModel

#: Folders of a release that hold programs; the rest is read anew by the same program.
_PROGRAM_FOLDERS = ("runner/", "site/")


class Outcome(StrEnum):
    """What became of a reload."""

    DONE = "done"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    RESTART = "restart"


#: Runs the current release's own `check`; returns what is wrong with it, or None.
Prove = Callable[[], Awaitable[str | None]]


class Reloader:
    """Changes what an app serves."""

    def __init__(
        self,
        around: Around,
        app: App,
        retire: Callable[[LiveModel], None],
        prove: Prove | None,
        switched: Callable[[LiveModel], None],
    ) -> None:
        """Makes a reloader.

        Args:
            around: Where releases lie and how they are opened.
            app: What serves them.
            retire: Gets the releases that are in service no more.
            prove: Proves a release with its own runner; None where it has none, as with
                `--release`.
            switched: Gets the release that is in service now, when it is another.
        """
        self._around = around
        self._app = app
        self._retire = retire
        self._prove = prove
        self._switched = switched
        self._turn = asyncio.Lock()

    async def reload(self) -> Outcome:
        """Looks what is current now and serves it; it never raises.

        Returns:
            What became of it. After `RESTART` the caller makes room for the new process.
        """
        async with self._turn:
            try:
                outcome = await self._reload()
            except EdgepackError as error:
                self._around.log.write("error", "reload refused", reason=error.message)
                outcome = Outcome.REFUSED
            except Exception as error:  # noqa: BLE001 - the old release serves on
                self._around.log.write("error", "bug", error=repr(error)[:500])
                outcome = Outcome.REFUSED
            self._app.metrics.count_reload(outcome)
            return outcome

    async def _reload(self) -> Outcome:
        around, models = self._around, self._app.models
        stable = models.stable
        settled = await asyncio.to_thread(settle, around, around.paths.release)
        manifest = settled.release.manifest
        if manifest.model.name != models.name:
            raise BundleError(
                f"the new release is the model '{manifest.model.name}'; '{models.name}' is "
                "served here"
            )
        if needs_restart(stable.release.manifest, manifest):
            return await self._prepare_restart()
        # A release on trial that was promoted is open already.
        known = [live for _, live in models.all()]
        stable_now = open_as(settled, known)
        if stable_now is None:
            stable_now = await asyncio.to_thread(open_release, around, settled)
        canary_now = await asyncio.to_thread(open_trial, around, stable_now, [*known, stable_now])
        if stable_now is stable and canary_now is models.canary:
            return Outcome.UNCHANGED
        for live in (stable_now, canary_now):
            if live is not None:
                self._app.metrics.enter(live)
        for live in models.replace(stable_now, canary_now):
            self._retire(live)
        if stable_now is not stable:
            self._switched(stable_now)
        around.log.write("info", "release switched", version=stable_now.version)
        return Outcome.DONE

    async def _prepare_restart(self) -> Outcome:
        if self._prove is None:
            raise ConfigError(
                "the new release brings another runner or runtime", hint="restart the daemon"
            )
        problem = await self._prove()
        if problem is not None:
            raise DeviceError(f"the new release does not run here: {problem}")
        return Outcome.RESTART


def needs_restart(now: Manifest, new: Manifest) -> bool:
    """Whether a release brings programs that this process is not made of."""
    return now.runtime != new.runtime or _programs(now) != _programs(new)


def _programs(manifest: Manifest) -> set[tuple[str, str]]:
    return {
        (record.path, record.sha256)
        for record in manifest.files
        if record.path.startswith(_PROGRAM_FOLDERS)
    }
