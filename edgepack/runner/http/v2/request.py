"""The request of `infer`: JSON, JSON with binary tensors behind it, or one raw tensor.

It is not aware of engines or threads. Used by `infer`.

Source: Open Inference Protocol V2, "Inference Request JSON Object"; Triton,
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgepack.runner.http.tensors.turn import Feed
from edgepack.runner.http.v2.fields import flag, parameters_of, parse_object, refuse, shown
from edgepack.runner.http.v2.inputs import Blobs, read_inputs, read_raw
from edgepack.runner.live.model import LiveModel

#: Says how many bytes of the body, from its beginning, are JSON.
HEADER_LENGTH = "Inference-Header-Content-Length"
#: A minute, in the microseconds that clients of Triton send.
MAX_TIMEOUT_US = 60_000_000
_MAX_DIGITS = 10


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output of an answer: its place in the signature, and whether it is to be binary."""

    place: int
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for.

    Attributes:
        id: What it calls the request, to be echoed; None when it does not.
        feed: The model's inputs.
        outputs: What it wants back, in this order.
        timeout_us: How long it wants to wait, in microseconds, or None.
    """

    id: str | None
    feed: Feed
    outputs: tuple[WantedOutput, ...]
    timeout_us: int | None


def parse_infer_request(headers: Mapping[str, str], body: bytes, live: LiveModel) -> InferRequest:
    """Parses the body of `infer`.

    Args:
        headers: The request's, names in lower case.
        body: What came, unpacked.
        live: The model it is for.

    Returns:
        The request, every tensor of it checked against the model's signature.

    Raises:
        RefusalError: 400, naming the tensor, what it was and what was expected.
    """
    said = headers.get(HEADER_LENGTH.lower())
    json_bytes = len(body) if said is None else _json_bytes(said, len(body))
    if said is not None and json_bytes == 0:
        return InferRequest(
            None, read_raw(memoryview(body), live), _all_outputs(live, binary=True), None
        )
    document = parse_object(body[:json_bytes])
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        refuse("id is expected to be a string")
    parameters = parameters_of(document, "the request")
    timeout_us = parameters.get("timeout", 0)
    if type(timeout_us) is not int or not 0 <= timeout_us <= MAX_TIMEOUT_US:
        refuse(f"the parameter timeout is expected to be 0 to {MAX_TIMEOUT_US} microseconds")
    binary = flag(parameters, "binary_data_output", "the request")
    return InferRequest(
        identifier,
        read_inputs(document.get("inputs"), Blobs(memoryview(body)[json_bytes:]), live),
        _wanted(document.get("outputs"), live, binary=binary),
        timeout_us or None,
    )


def _json_bytes(said: str, body_bytes: int) -> int:
    # int() would read thousands of digits, and takes signs, spaces and underscores.
    digits = said if said.isascii() and said.isdigit() else ""
    if not 0 < len(digits) <= _MAX_DIGITS or int(digits) > body_bytes:
        refuse(
            f"{HEADER_LENGTH} is '{shown(said)}', expected 0 to {body_bytes}, the body's own length"
        )
    return int(digits)


def _all_outputs(live: LiveModel, *, binary: bool) -> tuple[WantedOutput, ...]:
    return tuple(WantedOutput(i, binary) for i in range(len(live.signature.outputs)))


def _wanted(value: object, live: LiveModel, *, binary: bool) -> tuple[WantedOutput, ...]:
    if value is None or value == []:
        return _all_outputs(live, binary=binary)
    if not isinstance(value, list):
        refuse("outputs is expected to be a list of objects with a name")
    wanted: dict[int, WantedOutput] = {}
    for each in value:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            refuse("each of outputs is expected to be an object with a name")
        name = each["name"]
        place = live.signature.output_at(name)
        if place is None:
            gives = ", ".join(spec.name for spec in live.signature.outputs)
            refuse(f"unexpected output '{shown(name)}'; {live.name} gives {gives}")
        if place in wanted:
            refuse(f"output '{name}' is there twice")
        where = f"output '{name}'"
        chosen = flag(parameters_of(each, where), "binary_data", where, default=binary)
        wanted[place] = WantedOutput(place, chosen)
    return tuple(wanted.values())
