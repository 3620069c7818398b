"""Tokens: 256 random bits behind a prefix that tells what they are; only their hash is kept.

A hash without salt is enough: nobody guesses 256 bits, and it is found by an index. It is not
aware of the database. Used by `credentials`.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from edgepack.formats.canonical import sha256_hex
from edgepack.hub.access.roles import Role

_BYTES: Final = 32
_TOKEN: Final = re.compile(r"edgepack_[a-z]{5,6}_[A-Za-z0-9_-]{43}")


def make_token(role: Role) -> str:
    """Makes a token, such as `edgepack_reader_…`; scanners for secrets find the prefix."""
    return f"edgepack_{role}_{secrets.token_urlsafe(_BYTES)}"


def token_hash(token: str) -> str | None:
    """Returns what is kept of a token, or None when it has not the form of one.

    Args:
        token: What somebody showed.
    """
    return sha256_hex(token.encode("ascii")) if _TOKEN.fullmatch(token) else None
