"""What pages and answers share: the question in an address, and what is said of a wrong one.

Used by the pages and the API.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from edgepack.formats.errors import ConfigError
from edgepack.hub.web.addresses import Addresses

BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
#: A damaged document is the store's fault, not the reader's.
BROKEN: Final = 500


def params_in(request: Request) -> list[tuple[str, str]]:
    """Returns the parameters of an address, in their order, without empty ones.

    Raises:
        ConfigError: One holds a zero byte, which no name in a store does.
    """
    params = [(name, value) for name, value in request.query_params.multi_items() if value]
    for name, value in params:
        if "\0" in value or "\0" in name:
            raise ConfigError(f"the question: {name!r}: holds a zero byte")
    return params


def addresses_of(request: Request) -> Addresses:
    """Returns the addresses as the reader sees them, behind whatever prefix a proxy adds."""
    return Addresses(str(request.scope.get("root_path", "")).rstrip("/"))


def source_of(request: Request) -> str:
    """Returns the hub as the reader knows it, who may send evidence elsewhere."""
    return str(request.base_url).rstrip("/")


def sentence(message: str) -> str:
    """Returns what an error says, on one line; its own first line only counts the others."""
    first, *rest = [each.strip() for each in message.splitlines() if each.strip()] or [""]
    return "; ".join(rest) if rest else first
