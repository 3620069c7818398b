"""The request of `POST /recommend`: bytes to value, or a refusal that says what is wrong.

It is not aware of models beyond their largest k. Used by `routes` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn, cast

from edgepack.formats.errors import did_you_mean
from edgepack.runner.http.messages import JSON_TYPE, RefusalError

#: How many items an answer has when the request does not say.
DEFAULT_K = 10
#: Histories of one batch; a night's mailing is sent in several.
MAX_BATCH = 256
#: A minute: whoever can wait longer can ask again.
MAX_DEADLINE_MS = 60_000
_FIELDS = ("history", "histories", "k", "exclude_seen", "exclude", "deadline_ms")
#: What is shown of a value that came from outside.
_SHOWN_CHARACTERS = 80
_JSON_NAMES = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class RecommendRequest(NamedTuple):
    """What a shop asks for.

    Attributes:
        histories: External item ids, most recent last; one history unless it is a batch.
        batch: Whether the request had the batch form, and so has the answer.
        k: How many items it wants.
        exclude_seen: Whether items of the history are left out.
        exclude: More item ids to leave out.
        deadline_ms: How long it wants to wait for the model, or None.
    """

    histories: list[list[str]]
    batch: bool
    k: int
    exclude_seen: bool
    exclude: frozenset[str]
    deadline_ms: float | None

    def leave_out(self, history: list[str]) -> frozenset[str]:
        """Returns the item ids that the answer to a history must not have."""
        return self.exclude.union(history) if self.exclude_seen else self.exclude


def check_json_headers(headers: Mapping[str, str]) -> None:
    """Refuses a body that is not plain JSON.

    Args:
        headers: The request's, names in lower case.

    Raises:
        RefusalError: 415 for another content type or an encoded body.
    """
    if headers.get("content-type") == JSON_TYPE and "content-encoding" not in headers:
        return
    content_type = headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if content_type != JSON_TYPE:
        _refuse(
            f"the body is {content_type[:_SHOWN_CHARACTERS]}, expected {JSON_TYPE}; "
            f"send the header Content-Type: {JSON_TYPE}",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        _refuse(
            f"the body is {encoding[:_SHOWN_CHARACTERS]} encoded, expected plain JSON",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )


def parse_recommend_request(body: bytes, top_k: int) -> RecommendRequest:
    """Parses the body of `POST /recommend`.

    Args:
        body: At most the server's body limit.
        top_k: The most items the model can give.

    Returns:
        The request.

    Raises:
        RefusalError: 400, naming the field, what it was and what was expected.
    """
    document = _parse_object(body)
    for name in document:
        if name not in _FIELDS:
            known = ", ".join(_FIELDS)
            closest = did_you_mean(name, _FIELDS)
            _refuse(f"unknown field '{name[:_SHOWN_CHARACTERS]}'{closest}; the fields are {known}")
    return RecommendRequest(
        histories=_histories(document),
        batch="histories" in document,
        k=_k(document.get("k"), top_k),
        exclude_seen=_flag(document.get("exclude_seen", False)),
        exclude=_exclude(document.get("exclude")),
        deadline_ms=_deadline_ms(document.get("deadline_ms")),
    )


def _parse_object(body: bytes) -> dict[str, Any]:
    if not body:
        _refuse('the body is empty, expected an object such as {"history": ["sku"]}')
    try:
        document = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        _refuse(f"the body is not valid JSON: {str(error)[:_SHOWN_CHARACTERS]}")
    if not isinstance(document, dict):
        _refuse(f"the body is {_JSON_NAMES[type(document)]}, expected an object")
    return cast("dict[str, Any]", document)


def _histories(document: dict[str, Any]) -> list[list[str]]:
    if "histories" not in document:
        if "history" not in document:
            _refuse("the field history is missing; it is a list of item ids, most recent last")
        return [_items("history", document["history"])]
    if "history" in document:
        _refuse("got both history and histories; send history, or histories for a batch")
    batch = document["histories"]
    if not isinstance(batch, list):
        _refuse(f"histories is {_JSON_NAMES[type(batch)]}, expected a list of histories")
    if not 1 <= len(batch) <= MAX_BATCH:
        _refuse(f"histories has {len(batch)} entries, expected 1 to {MAX_BATCH}")
    return [_items(f"histories[{i}]", each) for i, each in enumerate(batch)]


def _items(name: str, value: object) -> list[str]:
    if not isinstance(value, list):
        _refuse(f"{name} is {_JSON_NAMES[type(value)]}, expected a list of item ids")
    if not set(map(type, value)) <= {str}:
        i, item = next((i, each) for i, each in enumerate(value) if not isinstance(each, str))
        _refuse(f"{name}[{i}] is {_JSON_NAMES[type(item)]}, expected an item id as a string")
    return cast("list[str]", value)


def _exclude(value: object) -> frozenset[str]:
    return frozenset() if value is None else frozenset(_items("exclude", value))


def _deadline_ms(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        _refuse(f"deadline_ms is {_JSON_NAMES[type(value)]}, expected a number of milliseconds")
    if not 0 < value <= MAX_DEADLINE_MS:
        _refuse(
            f"deadline_ms is {str(value)[:20]}, expected more than 0, at most {MAX_DEADLINE_MS}"
        )
    return value


def _k(value: object, top_k: int) -> int:
    if value is None:
        return min(DEFAULT_K, top_k)
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(f"k is {_JSON_NAMES[type(value)]}, expected a whole number from 1 to {top_k}")
    if not 1 <= value <= top_k:
        _refuse(f"k is {str(value)[:20]}, expected 1 to {top_k}, the most this model ranks")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(f"exclude_seen is {_JSON_NAMES[type(value)]}, expected true or false")
    return value


def _refuse(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> NoReturn:
    raise RefusalError(status, message)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same field twice")
    return result


# Made once: `json.loads` with hooks of its own makes a decoder for every call.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)
