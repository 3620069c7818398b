"""From the bytes of a request to reports that may be written, or to why not.

It is not aware of HTTP beyond a body and its coding, nor of the database. Used by `web.api`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from edgepack.formats.canonical import parse_json, sha256_hex
from edgepack.formats.errors import BundleError, Problem
from edgepack.formats.report import MAX_REPORT_BYTES, SCHEMA, Report, check_meaning, check_report
from edgepack.formats.sound import build_if_sound
from edgepack.formats.typed import from_plain
from edgepack.hub.intake.extract import check_ranges, extract
from edgepack.hub.store.documents import pack
from edgepack.hub.store.recording import Accepted

#: The most reports of one request, and their bytes; a box that was away for weeks sends several.
MAX_BATCH: Final = 500
MAX_BODY_BYTES: Final = 16 * MAX_REPORT_BYTES
#: The problems of one report that are told; a hostile one could have thousands.
_SHOWN_PROBLEMS: Final = 20
_GZIP_BITS: Final = 31
_LOST: Final = "this is no report of schema edgepack.report/1"


class UnreadableError(Exception):
    """A request's body cannot even be looked into; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that will never be taken.

    Attributes:
        status: HTTP's: 400 for no JSON, 403 for another's report, 413, 422 for no report.
        message: Why, in a sentence.
        problems: What is wrong with its fields.
        report_id: Its id where it could be read.
    """

    status: int
    message: str
    problems: tuple[Problem, ...] = ()
    report_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose credential brought a request: the device's key and its name."""

    device_id: int
    name: str


def decode_body(body: bytes, coding: str, limit: int = MAX_BODY_BYTES) -> bytes:
    """Unpacks a body.

    Args:
        body: As it came.
        coding: The header `Content-Encoding`; empty where there is none.
        limit: The most bytes it may unpack to.

    Returns:
        The plain bytes.

    Raises:
        UnreadableError: Another coding (415), damaged (400) or too long (413).
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise UnreadableError(
            415, f"the body is {coding[:40]!r} encoded; gzip and identity are taken"
        )
    unpacker = zlib.decompressobj(_GZIP_BITS)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise UnreadableError(400, f"the body is not gzip: {error}") from error
    if len(plain) > limit:
        raise UnreadableError(413, f"the body unpacks to more than {limit} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise UnreadableError(400, "the gzip body is cut short, or something follows it")
    return plain


def split_lines(body: bytes) -> list[bytes]:
    """Splits JSON lines into reports.

    Raises:
        UnreadableError: None, or too many (413).
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise UnreadableError(400, "the body holds no report")
    if len(lines) > MAX_BATCH:
        raise UnreadableError(413, f"{len(lines)} reports; at most {MAX_BATCH} are taken at once")
    return lines


def read_report(data: bytes, sender: Sender, received_ms: int) -> Accepted | Refused:
    """Judges one report.

    Args:
        data: Its bytes, as they were sent; they are kept as they are.
        sender: Whose credential came with it.
        received_ms: Now.

    Returns:
        The report, ready to be written, or why it is not taken.
    """
    if len(data) > MAX_REPORT_BYTES:
        return Refused(
            413, f"the report has {len(data)} bytes; at most {MAX_REPORT_BYTES} are taken"
        )
    try:
        document = parse_json(data, what="the report")
    except BundleError as error:
        return Refused(400, error.message)
    report_id = document.get("report_id")
    told = report_id[:64] if isinstance(report_id, str) else None
    report = build_report(document)
    if not isinstance(report, Report):
        return _not_a_report(report, told)
    if report.device_id is not None and report.device_id != sender.name:
        message = (
            f"the report is of device {report.device_id[:64]!r}, its token of {sender.name!r}; "
            "a device sends its own reports only (edgepack-runner enrol makes a new credential)"
        )
        return Refused(403, message, report_id=told)
    extracted = extract(report, sha256=sha256_hex(data), received_ms=received_ms)
    problems = check_ranges(extracted)
    if problems:
        return _not_a_report(problems, told)
    codec, body = pack(data)
    return Accepted(sender.device_id, extracted, str(codec), body)


def build_report(document: Mapping[str, Any]) -> Report | list[Problem]:
    """Checks and builds a parsed report at once.

    Args:
        document: What was parsed from JSON.

    Returns:
        The report, or everything that is wrong with it: as `check_report` says.
    """
    report = None
    if document.get("schema") == SCHEMA:
        report = build_if_sound(Report, document)
    problems = check_report(document) if report is None else check_meaning(document)
    if problems:
        return problems
    return cast("Report", from_plain(Report, document)) if report is None else report


def read_reports(
    lines: list[bytes], sender: Sender, received_ms: int
) -> Iterator[Accepted | Refused]:
    """Judges several reports, each by itself.

    Args:
        lines: Their bytes.
        sender: Whose credential came with them.
        received_ms: Now.

    Yields:
        What `read_report` says of each, in order.
    """
    for line in lines:
        yield read_report(line, sender, received_ms)


def _not_a_report(problems: list[Problem], report_id: str | None) -> Refused:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return Refused(422, f"{_LOST}: {count}", tuple(problems[:_SHOWN_PROBLEMS]), report_id)
