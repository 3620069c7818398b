"""Reading the JSON objects of the protocol, refusing what is not what it should be.

It is not aware of models. Used by the modules beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

from edgepack.runner.http.messages import RefusalError

#: What is shown of a value that came from outside.
SHOWN_CHARACTERS = 80
#: Parameters of Triton's extensions that change what is answered, and that are not spoken here.
_UNSUPPORTED = {
    "shared_memory_region": "shared memory",
    "classification": "classification",
    "sequence_id": "a sequence of requests",
}


def refuse(message: str) -> NoReturn:
    """Refuses the request with status 400."""
    raise RefusalError(HTTPStatus.BAD_REQUEST, message)


def shown(value: object) -> str:
    """Returns a value from outside as an error may show it."""
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses a body that has to be a JSON object; NaN and the infinities are taken for numbers.

    Raises:
        RefusalError: 400, it is not.
    """
    if not body:
        refuse("the body is empty, expected a JSON object")
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        refuse(f"the body is not valid JSON: {shown(error)}")
    if not isinstance(document, dict):
        refuse(f"the body is a {type(document).__name__}, expected an object")
    return document


def parameters_of(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Returns the `parameters` of an object; unknown ones are left alone.

    Args:
        value: The object.
        where: What it is, for errors.

    Raises:
        RefusalError: 400, they are no object, or ask for an extension that is not spoken.
    """
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        refuse(f"the parameters of {where} are expected to be an object")
    for name, what in _UNSUPPORTED.items():
        if parameters.get(name):
            refuse(f"{where} has the parameter {name}, but {what} is not supported")
    return parameters


def flag(parameters: Mapping[str, Any], name: str, where: str, *, default: bool = False) -> bool:
    """Returns a parameter that is true or false.

    Raises:
        RefusalError: 400, it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        refuse(f"the parameter {name} of {where} is expected to be true or false")
    return value
