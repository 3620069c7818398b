"""The parsers of bytes from the disk: releases, bundles, settings, and all that the state keeps."""

from __future__ import annotations

import functools
import io
import json
import lzma
import uuid
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edgepack.formats.choice import Choice, ChoiceKey, ChoiceRow, Choices, parse_choices
from edgepack.formats.errors import BundleError, ConfigError, DeviceError, HubError
from edgepack.formats.evidence import parse_evidence
from edgepack.formats.golden import GoldenSet
from edgepack.formats.manifest import Manifest, parse_manifest
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import parse_report
from edgepack.formats.variants import RuntimeName
from edgepack.formats.vocabulary import Vocabulary
from edgepack.hub.answers.sheet import Sheet, parse_sheet
from edgepack.hub.answers.table import Column, Table, Unit
from edgepack.runner import serving_mark
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.payload import XzStream, read_members
from edgepack.runner.boot.store import MARKER, Store, read_external
from edgepack.runner.choice.settling import read_choices
from edgepack.runner.drift.keeping import DRIFT_FILE, make_counters, read_drift, save_counters
from edgepack.runner.notify import socket_address, watchdog_interval_s
from edgepack.runner.reports.spool import Spool
from edgepack.runner.reports.tokens import read_token
from edgepack.runner.reports.transport import parse_retry_after
from edgepack.runner.settings import parse_settings
from edgepack.runner.state import read_device_id
from tests.bundles import forge, pack, payload_of, release_files
from tests.evidence import EVIDENCE
from tests.formats.test_report import _report
from tests.fuzz.target import Target, through_file
from tests.runner.simulators import HandClock, write_release

_SETTINGS = b"""\
[serve]
port = 8081
token_file = "token"
[hub]
url = "https://hub.example/reports"
interval_s = 60.5
[limits]
body_bytes = 2048
"""
_DATES = (b"120", b"Wed, 25 Nov 2026 03:00:00 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"-1")
_SERVING = b'{"pid": 1, "port": 8080, "started": "2026-11-23T09:00:00Z"}'


def file_targets(folder: Path) -> list[Target]:
    """The targets of this module.

    Args:
        folder: An empty folder of theirs.
    """
    return [*_format_targets(folder), *_bundle_targets(folder), *_state_targets(folder)]


def _format_targets(folder: Path) -> list[Target]:
    release = folder / "release"
    write_release(release)
    (golden,) = (release / "golden").iterdir()
    report = _report().to_bytes()

    def plain(name: str, parse: Callable[[bytes], object], *seeds: bytes) -> Target:
        return Target(name, parse, seeds, (BundleError,))

    return [
        plain("manifest", parse_manifest, (release / "manifest.json").read_bytes()),
        plain("golden", GoldenSet.from_bytes, golden.read_bytes()),
        plain("vocabulary", Vocabulary.from_bytes, (release / "vocabulary.json").read_bytes()),
        plain("report", parse_report, report),
        plain("choices", parse_choices, _choices()),
        Target(
            "settings",
            lambda data: parse_settings(data, folder / "runner.toml"),
            (_SETTINGS, b"", b"[serve]\nport = 1979-05-27\n"),
            (ConfigError,),
        ),
        Target("evidence", parse_evidence, (EVIDENCE.to_bytes(),), (BundleError, HubError)),
        Target("hub's answer", parse_sheet, (_sheet(),), (HubError,)),
    ]


def _choices() -> bytes:
    options = EngineOptions(2)
    key = ChoiceKey("f" * 64, RuntimeName.LITERT, "2.3.0", "6.1", None, 4)
    row = ChoiceRow("tflite-fp32", options, (5, 6), 5, 0.1)
    moment = "2026-11-23T09:15:02.125Z"
    return Choices((Choice(moment, key, "tflite-fp32", options, "fastest", (row,)),)).to_bytes()


def _sheet() -> bytes:
    columns = (Column("box", "Box"), Column("p50_ns", "p50", Unit.NS, "a help", detail=True))
    table = Table("fleet", "Fleet", columns, (("a", 5), ("b", None)), "a note")
    return json.dumps(Sheet("Fleet", ("2 boxes",), (table,)).to_json()).encode()


def _drift(state: Path, manifest: Manifest) -> bytes:
    counters = make_counters(manifest, HandClock())
    counters.observe(3, 1, [2.5, 1.5])
    save_counters(state, counters, HandClock())
    return (state / DRIFT_FILE).read_bytes()


def _bundle_targets(folder: Path) -> list[Target]:
    home = folder / "bundles"
    home.mkdir()
    packed = pack(home)
    honest = packed.path.read_bytes()
    tar = payload_of(release_files())
    records = {record.path: record for record in packed.manifest.files}
    faults = (BundleError, DeviceError)

    def whole(data: bytes) -> None:
        path = home / "any.pyz"
        path.write_bytes(data)
        bundle = open_bundle(path)
        for _, content in bundle.read_payload():
            for _ in content:
                pass
        bundle.verify()

    def payload(data: bytes) -> None:
        for _, content in read_members(XzStream(io.BytesIO(data), "payload"), records):
            for _ in content:
                pass

    def sealed_manifest(data: bytes) -> None:
        open_bundle(forge(home, manifest=data)).verify()

    manifest = packed.manifest.to_bytes()
    compress = functools.partial(lzma.compress, preset=0)
    return [
        Target("bundle", whole, (honest,), faults, 8),
        Target("bundle's manifest, sealed", sealed_manifest, (manifest,), faults, 40),
        Target("payload's tar", lambda data: payload(compress(data)), (tar,), faults, 8),
        Target("payload's xz", payload, (compress(tar), lzma.compress(b"")), faults, 2),
    ]


def _state_targets(folder: Path) -> list[Target]:
    state, release = folder / "state", folder / "release"
    (state / "spool").mkdir(parents=True)
    manifest = parse_manifest((release / "manifest.json").read_bytes())
    store = Store(folder / "root")
    store.root.mkdir()
    marker = json.dumps({"format": 1, "model": "session", "state": "state", "history": []})
    now = datetime(2026, 11, 23, tzinfo=UTC)
    text = functools.partial(str, encoding="utf-8", errors="surrogateescape")
    environment = (b"/run/systemd/notify", b"@abstract", b"30000000", b"vsock:2:1")

    def notify(data: bytes) -> None:
        socket_address(text(data))
        watchdog_interval_s({"WATCHDOG_USEC": text(data), "WATCHDOG_PID": text(data)})

    def retry_after(data: bytes) -> None:
        wait_s = parse_retry_after(text(data), text(data[::-1]), now)
        assert wait_s is None or 0 <= wait_s <= 86_400

    def kept(name: str, file: str, read: Callable[[], object], *seeds: bytes) -> Target:
        return Target(name, through_file(state / file, read), (*seeds, b""), ())

    def drift() -> object:
        return read_drift(state, manifest, HandClock())

    token = state / "token"
    return [
        kept(
            "device id", "device_id", lambda: read_device_id(state), str(uuid.UUID(int=7)).encode()
        ),
        kept("kept choices", "choice.json", lambda: read_choices(state), _choices()),
        kept("kept drift", DRIFT_FILE, drift, _drift(state, manifest)),
        # Reading the file first asks its lock whether the daemon lives.
        Target("serving mark", serving_mark._parse, (_SERVING, b""), ()),
        Target(
            "spool", functools.partial(_eat_spool, state / "spool"), _SPOOL_SEEDS, (DeviceError,), 4
        ),
        Target(
            "token", through_file(token, lambda: read_token(token)), (b"t0ken\n",), (ConfigError,)
        ),
        Target("notify", notify, environment, ()),
        Target("retry-after", retry_after, _DATES, ()),
        Target(
            "root's marker",
            through_file(store.root / MARKER, store.read_info),
            (marker.encode(),),
            (BundleError, DeviceError),
        ),
        Target(
            "external wheels",
            through_file(release / "external.json", lambda: read_external(release)),
            (b'{"format": 1, "paths": [], "distributions": []}',),
            (),
        ),
    ]


_REPORT = b'{"report_id":"00000000-0000-4000-8000-000000000001"}'
_SPOOL_NAME = b"0000000001-00000000-0000-4000-8000-000000000001-%08x.json" % zlib.crc32(_REPORT)
#: A name, the ledger and a body, one a line.
_SPOOL_SEEDS = (
    _SPOOL_NAME + b"\n3 0\n" + _REPORT,
    _SPOOL_NAME + b"\n0 9999999999\n" + _REPORT,
    b".dropped.1.tmp\n\n" + _REPORT,
)


def _eat_spool(directory: Path, data: bytes) -> None:
    """Feeds a spool a folder with a file of any name and content beside an honest one."""
    for path in directory.iterdir():
        path.unlink()
    name, _, rest = data.partition(b"\n")
    ledger, _, body = rest.partition(b"\n")
    usable = name.replace(b"/", b"").replace(b"\0", b"")[:200]
    (directory / "dropped").write_bytes(ledger)
    if usable not in (b"", b".", b"..", b"dropped", b".lock"):
        (directory / usable.decode("utf-8", "surrogateescape")).write_bytes(body)
    spool = Spool(directory)
    spool.dropped()
    for each in spool.waiting():
        spool.read(each)
    spool.remove_torn()
    added = str(uuid.UUID(int=99))
    spool.add(added, b"{}")
    assert any(each.report_id == added for each in spool.waiting())
    assert all(spool.read(each) is not None for each in spool.waiting())
