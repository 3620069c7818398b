"""Keeps drift counters in the state folder: over a restart, and for the report of `bench`.

A file that is torn, foreign or of another model is no file: counting starts anew. It is not
aware of what is counted. Used by the server and by `bench`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.drift import DriftFacts
from edgepack.formats.errors import BundleError
from edgepack.formats.manifest import Manifest
from edgepack.formats.typed import Count, Name, check_value, from_plain, to_plain
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.drift.counters import DriftCounters, Window
from edgepack.runner.durable import LOCAL, FileSystem, remove_abandoned, write_durably
from edgepack.runner.log import Log

DRIFT_FILE = "drift.json"
#: How often the daemon writes it; so much is lost at a power cut.
SAVE_EVERY_S = 300.0
_SCHEMA = "edgepack.drift/1"
#: Two windows of some forty counts have 1 kB.
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _KeptWindow:
    since: Name
    age_ns: Count
    histories: Count
    empty_histories: Count
    items: Count
    unknown_items: Count
    bins: Mapping[str, tuple[Count, ...]]


@dataclass(frozen=True, slots=True)
class _Kept:
    schema: Name
    fingerprint: Name
    until: Name
    windows: tuple[_KeptWindow, ...]


def make_counters(manifest: Manifest, clock: Clock) -> DriftCounters:
    """Makes the counters of a release.

    Args:
        manifest: Its manifest.
        clock: Tells when windows are to be turned.

    Returns:
        Counters that stand at nothing.
    """
    model = f"{manifest.model.name} {manifest.model.version}"
    return DriftCounters(model, manifest.reference, clock)


def save_counters(
    state: Path, counters: DriftCounters, clock: Clock, files: FileSystem = LOCAL
) -> None:
    """Writes counters down, durably.

    Args:
        state: The state folder; it exists.
        counters: What is written.
        clock: Says when that was.
        files: Where it is written.

    Raises:
        OSError: Disk full, read-only or no permission; the file before is still there.
    """
    windows = [dataclasses.asdict(each) for each in counters.windows()]
    document = {
        "schema": _SCHEMA,
        "fingerprint": counters.fingerprint,
        "until": rfc3339(clock.utc_now()),
        "windows": windows,
    }
    write_durably(state / DRIFT_FILE, canonical_json(document), files)


def restore_counters(state: Path, counters: DriftCounters, files: FileSystem = LOCAL) -> bool:
    """Goes on from counters that were written down.

    Args:
        state: The state folder.
        counters: New ones of the release that is served.
        files: Where they are read.

    Returns:
        Whether there were any that fit.
    """
    kept = _read(state, files)
    if kept is None or kept.fingerprint != counters.fingerprint:
        return False
    return counters.restore([_window(each) for each in kept.windows])


def read_drift(
    state: Path, manifest: Manifest, clock: Clock, files: FileSystem = LOCAL
) -> DriftFacts | None:
    """Reads what the daemon of this box has counted, for a report.

    Args:
        state: The state folder.
        manifest: Of the release the report is about.
        clock: Needed to make counters; no time is taken from it.
        files: Where they are read.

    Returns:
        The counts, as of when they were last written; None where there are none for this model.
    """
    kept = _read(state, files)
    counters = make_counters(manifest, clock)
    if kept is None or kept.fingerprint != counters.fingerprint:
        return None
    # Windows this old would be turned; a report tells what was written, and until when.
    windows = [dataclasses.replace(_window(each), age_ns=0) for each in kept.windows]
    if not counters.restore(windows):
        return None
    return dataclasses.replace(counters.facts(), until=kept.until)


class DriftKeeper:
    """Writes the daemon's counters down every few minutes and at its end, in its own thread.

    A sync on a worn SD card takes a second; no request may wait for it.
    """

    def __init__(self, state: Path, clock: Clock, log: Log, files: FileSystem = LOCAL) -> None:
        self._state = state
        self._clock = clock
        self._log = log
        self._files = files
        self._counters: DriftCounters | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)

    def follow(self, manifest: Manifest) -> DriftCounters:
        """Begins to keep a release's counters, going on from those that were kept of it.

        Args:
            manifest: Of the release that is served from now on.

        Returns:
            Its counters; those followed before are written no more.
        """
        counters = make_counters(manifest, self._clock)
        restore_counters(self._state, counters, self._files)
        self._counters = counters
        return counters

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the thread and writes for the last time.

        Args:
            timeout_s: How long to wait for a write that is under way.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self.save()

    def save(self) -> None:
        """Writes now; a disk that takes nothing is told to the log, and served on."""
        if self._counters is None:
            return
        try:
            self._files.make_directory(self._state)
            save_counters(self._state, self._counters, self._clock, self._files)
        except OSError as error:
            self._log.write_rarely("warning", "drift not kept", error=error.strerror or str(error))

    def _run(self) -> None:
        remove_abandoned(self._state)
        while not self._stop.wait(SAVE_EVERY_S):
            self.save()


def _window(kept: _KeptWindow) -> Window:
    return Window(**to_plain(kept))


def _read(state: Path, files: FileSystem) -> _Kept | None:
    try:
        data = files.read(state / DRIFT_FILE, _MAX_FILE_BYTES + 1)
        document = parse_json(data, what=DRIFT_FILE, limit=_MAX_FILE_BYTES)
    except (OSError, BundleError):
        return None
    if document.get("schema") != _SCHEMA or check_value(_Kept, document, ""):
        return None
    kept: _Kept = from_plain(_Kept, document)
    return kept
