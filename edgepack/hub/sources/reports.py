"""Puts a file of reports into a store of its own, so that a hub is not needed to ask.

The reports go the way of a hub's own intake. Used by `opening`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, insert, select

from edgepack.formats.canonical import parse_json
from edgepack.formats.errors import BundleError, ConfigError
from edgepack.formats.report import SCHEMA
from edgepack.hub.intake.submission import Refused, Sender, read_report
from edgepack.hub.store import schema
from edgepack.hub.store.engine import open_engine, writing
from edgepack.hub.store.migrating import migrate
from edgepack.hub.store.recording import Accepted, Recorder

#: About 20,000 reports; more of them are a hub's work.
MAX_FILE_BYTES: Final = 512 * 2**20
#: Reports that are written in one transaction.
_BATCH: Final = 200
_SHOWN_PROBLEMS: Final = 10
#: What a report is of whose box could not keep an id of its own.
_UNNAMED: Final = "unnamed"


@contextmanager
def store_of_reports(path: Path, *, now_ms: int) -> Iterator[Engine]:
    """Makes a store of a file's reports, and removes it afterwards.

    Args:
        path: Reports as JSON, one on each line or spread over lines as `report --show` prints.
        now_ms: When they count as received.

    Yields:
        The store.

    Raises:
        ConfigError: It cannot be read, is too large, or a line holds no report; every such line
            is named, up to ten.
    """
    reports = _split(_read(path), path)
    with tempfile.TemporaryDirectory(prefix="edgepack-reports-") as folder:
        engine = open_engine(Path(folder) / "hub.sqlite")
        try:
            migrate(engine)
            _load(engine, reports, path, now_ms)
            yield engine
        finally:
            engine.dispose()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path}: more than {MAX_FILE_BYTES // 2**20} MB of reports",
            hint="send them to a hub: `edgepack hub serve`",
        )
    return data


def _split(data: bytes, path: Path) -> list[tuple[int, bytes]]:
    """Returns the reports with the lines they begin at.

    Raises:
        ConfigError: There is none, or what is spread over lines is not JSON.
    """
    lines = [(i, line) for i, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise ConfigError(f"{path}: there is no report in it")
    return _split_spread(data, path) if lines[0][1].strip() == b"{" else lines


def _split_spread(data: bytes, path: Path) -> list[tuple[int, bytes]]:
    """Splits JSON values that follow each other and are each spread over lines."""
    found: list[tuple[int, bytes]] = []
    decoder = json.JSONDecoder()
    try:
        text = data.decode("utf-8")
        at, line = 0, 1
        while at < len(text):
            if text[at].isspace():
                line += text[at] == "\n"
                at += 1
                continue
            _, end = decoder.raw_decode(text, at)
            found.append((line, text[at:end].encode("utf-8")))
            line += text.count("\n", at, end)
            at = end
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    return found


def _load(engine: Engine, reports: Sequence[tuple[int, bytes]], path: Path, now_ms: int) -> None:
    names = [_device_name(data) for _, data in reports]
    devices = _make_devices(engine, sorted(set(names)), now_ms)
    accepted: list[Accepted] = []
    problems: list[str] = []
    for (line, data), name in zip(reports, names, strict=True):
        found = read_report(data, Sender(devices[name], name), now_ms)
        if isinstance(found, Refused):
            details = "; ".join(str(each) for each in found.problems[:_SHOWN_PROBLEMS])
            problems.append(f"line {line}: {found.message}" + (f" ({details})" if details else ""))
        else:
            accepted.append(found)
    if problems:
        shown = "".join(f"\n  {each}" for each in problems[:_SHOWN_PROBLEMS])
        raise ConfigError(
            f"{path}: {len(problems)} of {len(reports)} lines hold no report{shown}",
            hint=f"a file of reports has one {SCHEMA} on each line; or name a hub's store",
        )
    recorder = Recorder(engine)
    for start in range(0, len(accepted), _BATCH):
        recorder.record(accepted[start : start + _BATCH])


def _device_name(data: bytes) -> str:
    """Returns whose report it is; whether it is one at all is judged later."""
    try:
        name: Any = parse_json(data, what="the report").get("device_id")
    except BundleError:
        return _UNNAMED
    return name[:64] if isinstance(name, str) and name else _UNNAMED


def _make_devices(engine: Engine, names: Sequence[str], now_ms: int) -> dict[str, int]:
    table = schema.device
    with writing(engine).begin() as connection:
        connection.execute(insert(table), [{"name": n, "enrolled_ms": now_ms} for n in names])
        found = connection.execute(select(table.c.name, table.c.id))
        return {row.name: row.id for row in found}
