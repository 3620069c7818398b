"""One report's bytes as a mould: other reports with another id, box and time, already packed.

Packing ten kilobytes takes a quarter of a millisecond; a million of them, minutes. Here the parts
between the three values are packed once, and the values are put in as they are, which the format
allows. What comes out is an ordinary zlib stream of an ordinary report. It is not aware of what a
report says. Used by `bulk`.

Source: RFC 1950 and RFC 1951 3.2.4, blocks that are not compressed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from edgepack.formats.report import Report

#: zlib, deflate, a window of 32 KiB; no dictionary.
_HEAD: Final = b"\x78\x9c"
#: A last block without anything in it.
_TAIL: Final = b"\x01\x00\x00\xff\xff"
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Cast:
    """A report that came out of a mould.

    Attributes:
        sha256: Of its bytes.
        packed: Its bytes in zlib's format.
    """

    sha256: str
    packed: bytes


class Mould:
    """Makes copies of a report that differ in their id, their box and their time alone.

    Args:
        report: Has a device id; nothing else of it holds its three values.

    Attributes:
        created: The report's own time, RFC 3339.
    """

    def __init__(self, report: Report) -> None:
        self.created = report.created
        data = report.to_bytes()
        # The keys are sorted, so the time of creation is the one before the device.
        created = f'"created":"{report.created}","device":'.encode()
        device_id = f'"device_id":"{report.device_id}"'.encode()
        report_id = f'"report_id":"{report.report_id}"'.encode()
        self._parts: list[bytes] = []
        for mark, value in (
            (created, report.created),
            (device_id, str(report.device_id)),
            (report_id, report.report_id),
        ):
            if data.count(mark) != 1:
                raise ValueError(f"the report has {mark[:60]!r} {data.count(mark)} times")
            at = data.index(mark) + mark.index(value.encode())
            self._parts.append(data[:at])
            data = data[at + len(value) :]
        self._parts.append(data)
        self._packed = [_packed_part(part) for part in self._parts]

    def cast(self, created: str, device_id: str, report_id: str) -> Cast:
        """Makes a copy.

        Args:
            created: Its time, RFC 3339.
            device_id: Whose it is.
            report_id: Its own id.

        Returns:
            The copy, packed.
        """
        values = [created.encode(), device_id.encode(), report_id.encode()]
        plain, packed = [self._parts[0]], [_HEAD, self._packed[0]]
        for i, value in enumerate(values):
            plain += (value, self._parts[i + 1])
            size = len(value)
            packed += (struct.pack("<BHH", 0, size, size ^ 0xFFFF), value, self._packed[i + 1])
        data = b"".join(plain)
        packed += (_TAIL, struct.pack(">I", zlib.adler32(data)))
        return Cast(hashlib.sha256(data).hexdigest(), b"".join(packed))


def _packed_part(part: bytes) -> bytes:
    """Packs a part so that it ends at a whole byte and what follows does not refer to it."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
