"""Reports of boxes in the bytes that they are sent in, for the tests of taking them in."""

from __future__ import annotations

import json
from typing import Any

from tests.hub.sources.report_files import make_report

#: An hour after the reports say that they were made.
NOW_MS = 1_790_000_000_000
DEVICE = "11111111-1111-4111-8111-111111111111"


def report_bytes(number: int = 0, *, device: str | None = DEVICE, **changed: Any) -> bytes:
    """A report of a device; `changed` replaces fields of the document."""
    document = json.loads(make_report(number).to_bytes())
    document["device_id"] = device
    document["report_id"] = f"00000000-0000-4000-8000-{number:012x}"
    document["created"] = "2026-09-21T13:13:20Z"
    document.update(changed)
    return json.dumps(document).encode()
