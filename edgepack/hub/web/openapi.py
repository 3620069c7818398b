"""What the OpenAPI description says of the routes that read their bodies themselves.

It is not aware of how they answer. Used by `api`.
"""

from __future__ import annotations

from typing import Any, Final

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "report_id": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
}
_OUTCOME: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "report_id": {"type": "string"},
        "outcome": {"enum": ["new", "seen", "conflict"]},
        "error": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
        "status": {"type": "integer"},
    },
}
_TOKEN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["token", "device_id"],
    "properties": {"token": {"type": "string"}, "device_id": {"type": "string"}},
}
#: What a report holds beyond this is checked by `edgepack.formats.report`.
_REPORT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["schema", "report_id", "created", "bundle", "model", "runtime", "runs", "trust"],
    "properties": {
        "schema": {"const": "edgepack.report/1"},
        "report_id": {"type": "string", "format": "uuid"},
        "created": {"type": "string", "format": "date-time"},
    },
}


def _answers(good: dict[str, Any], **codes: str) -> dict[str, Any]:
    bad = {"application/json": {"schema": _ERROR}}
    answers: dict[str, Any] = {
        code.removeprefix("_"): {"description": text, "content": bad}
        for code, text in codes.items()
    }
    return {**answers, **good}


def _good(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_COMMON: Final = {
    "_400": "The body cannot be read.",
    "_401": "No token, or one that is not valid.",
    "_403": "The token is of another role, or of another device.",
    "_413": "The body is too long.",
    "_422": "It is JSON, but not what is expected.",
    "_429": "Too often; `Retry-After` says when again.",
}
_SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}]

REPORTS: Final[dict[str, Any]] = {
    "security": _SECURITY,
    "requestBody": {
        "required": True,
        "description": "May be gzip encoded (`Content-Encoding: gzip`).",
        "content": {
            "application/json": {"schema": _REPORT},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
    "responses": _answers(
        {
            "200": _good("It was there already.", _OUTCOME),
            "201": _good("It is on disk.", _OUTCOME),
            "207": _good("Of several, each has its own status.", {"type": "object"}),
        },
        **_COMMON,
        _409="Another report has this id.",
        _415="Another content type or coding.",
        _503="The hub cannot write now; `Retry-After` says when again.",
    ),
}
ENROL: Final[dict[str, Any]] = {
    "security": _SECURITY,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["device_id"],
                    "properties": {
                        "device_id": {"type": "string", "minLength": 4, "maxLength": 64},
                        "label": {"type": "string", "maxLength": 200},
                    },
                }
            }
        },
    },
    "responses": _answers(
        {"201": _good("The device's token; it is shown this once.", _TOKEN)},
        **_COMMON,
        _409="The device is enrolled already.",
    ),
}
ROTATE: Final[dict[str, Any]] = {
    "security": _SECURITY,
    "responses": _answers(
        {"201": _good("The new token; the old one has ended.", _TOKEN)}, **_COMMON
    ),
}
SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "edgepack_hub"},
}
