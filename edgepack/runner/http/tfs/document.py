"""The JSON of a request, and what TensorFlow Serving says when it is none.

The words and byte offsets are those of the C++ parser behind TensorFlow Serving (RapidJSON),
because clients and runbooks search for them. It is not aware of tensors. Used by `request`.

Source: tensorflow_serving/util/json_tensor.cc, `ParseJson`; rapidjson/error/en.h.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any, NoReturn

from edgepack.runner.http.messages import RefusalError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
#: What is shown of a value that came from outside; the original shows all of it.
_SHOWN_CHARACTERS = 200
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_INVALID_VALUE = "Invalid value."
_NO_NAME = "Missing a name for object member."
_NO_COLON = "Missing a colon after a name of object member."
_NO_COMMA = "Missing a comma or } after an object member."
_NO_COMMA_IN_ARRAY = "Missing a comma or ] after an array element."
_NO_QUOTE = "Missing a closing quotation mark in string."
_BAD_ENCODING = "Invalid encoding in string."
_BAD_ESCAPE = "Invalid escape character in string."
_BAD_HEX = "Incorrect hex digit after \\u escape in string."
_BIG_NUMBER = "Number too big to be stored in double."
#: How Python's decoder begins the same complaints.
_WORDS = (
    ("Expecting value", _INVALID_VALUE),
    ("Expecting property name", _NO_NAME),
    ("Illegal trailing comma before end of object", _NO_NAME),
    ("Illegal trailing comma", _INVALID_VALUE),
    ("Expecting ':'", _NO_COLON),
    ("Unterminated string", _NO_QUOTE),
    ("Invalid control character", _BAD_ENCODING),
    ("Invalid \\u", _BAD_HEX),
    ("Invalid \\", _BAD_ESCAPE),
)
_TYPES = {
    str: "String",
    int: "Number",
    float: "Number",
    list: "Array",
    dict: "Object",
    type(None): "Null",
}


def parse_document(body: bytes) -> dict[str, Any]:
    """Parses a body; what follows the first value is left alone, NaN and infinities are numbers.

    Args:
        body: What came, unpacked.

    Raises:
        RefusalError: 400, `JSON Parse error: … at offset: …`, or the value is no object.
    """
    if not body:
        refuse("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_json(_BAD_ENCODING, error.start)
    start = _SPACE.match(text)
    at = start.end() if start else 0
    if at == len(text):
        _refuse_json("The document is empty.", len(body))
    try:
        value, _ = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        _refuse_json(_in_their_words(error), len(text[: error.pos].encode("utf-8")))
    except ValueError:
        # Python reads no whole number of more than 4300 digits.
        _refuse_json(_BIG_NUMBER, at)
    except RecursionError:
        refuse("JSON Parse error: nested too deeply")
    if not isinstance(value, dict):
        refuse_value(value, "Is not object")
    return value


def refuse(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> NoReturn:
    """Refuses the request, with status 400 if not told otherwise."""
    raise RefusalError(status, message)


def refuse_value(value: object, why: str) -> NoReturn:
    """Refuses the request with a value and what is wrong with it."""
    refuse(f"JSON Value: {value_text(value)} {why}")


def value_text(value: object) -> str:
    """Returns a value as an error shows it."""
    try:
        text = json.dumps(value, indent=4, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = "(nested too deeply)"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def type_text(value: object) -> str:
    """Returns a value's type as an error calls it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPES[type(value)]


def _refuse_json(words: str, offset: int) -> NoReturn:
    refuse(f"JSON Parse error: {words} at offset: {offset}")


def _in_their_words(error: json.JSONDecodeError) -> str:
    for begin, words in _WORDS:
        if error.msg.startswith(begin):
            return words
    # "Expecting ',' delimiter", in an object or in an array.
    open_brackets: list[str] = []
    for match in _STRING_OR_BRACKET.finditer(error.doc, 0, error.pos):
        if match.group() in ("[", "{"):
            open_brackets.append(match.group())
        elif match.group() in ("]", "}"):
            open_brackets.pop()
    return _NO_COMMA if open_brackets[-1:] == ["{"] else _NO_COMMA_IN_ARRAY
