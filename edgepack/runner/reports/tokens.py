"""Reads a bearer token from a file: on the command line every user of the box could see it.

It is not aware of what the token opens. Used by `report --send`.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.formats.errors import ConfigError

#: Longer than any token in use; JSON web tokens have about 1 kB.
_MAX_TOKEN_BYTES = 8192


def read_token(path: Path | None) -> str | None:
    """Reads a token.

    Args:
        path: The file it stands in, or None.

    Returns:
        The token without white space around it, or None when no file was named.

    Raises:
        ConfigError: The file cannot be read, is empty, or holds what no header may.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no token can be read: {error}") from error
    if not token or len(token) > _MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise ConfigError(f"{path}: expected one token of printable characters")
    return token
