"""What the field says, as a value: strict in what it knows, deaf to what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgepack.formats.errors import BundleError, HubError
from edgepack.formats.evidence import SCHEMA, parse_evidence
from tests.evidence import EVIDENCE


def _plain() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(EVIDENCE.to_bytes())
    return value


def test_what_is_written_is_read_again() -> None:
    assert parse_evidence(EVIDENCE.to_bytes()) == EVIDENCE


def test_fields_of_a_later_hub_are_dropped() -> None:
    later = {**_plain(), "weather": "fine"}
    assert parse_evidence(json.dumps(later).encode()) == EVIDENCE


def test_another_schema_is_refused_with_a_hint() -> None:
    other = {**_plain(), "schema": "edgepack.evidence/2"}
    with pytest.raises(HubError, match=f"expected '{SCHEMA}'") as caught:
        parse_evidence(json.dumps(other).encode())
    assert caught.value.hint is not None


def test_every_wrong_field_is_named() -> None:
    wrong = _plain()
    wrong["target"] = 5
    wrong["picks"][0]["relative"] = -1
    with pytest.raises(HubError) as caught:
        parse_evidence(json.dumps(wrong).encode())
    assert "target: got an integer" in caught.value.message
    assert "picks[0].relative: -1 is below 0" in caught.value.message


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(BundleError):
        parse_evidence(b"<html>")
