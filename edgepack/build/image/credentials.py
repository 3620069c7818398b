"""What a registry is told about who asks: as `docker login` and `podman login` keep it.

It writes nothing and keeps nothing. Used by `registry`.

Source: containers-auth.json(5); docker's "Credential store" and "Credential helpers".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgepack.build.image.reference import DOCKER_HUB
from edgepack.formats.errors import ConfigError, EdgepackError

_MAX_FILE_BYTES: Final = 2**20
#: The names under which docker keeps its own registry.
_HUB_NAMES: Final = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
#: What a helper calls a user when its secret is a token.
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a helper's word, no secret

#: Runs a credential helper: its program, the text it is given; returns what it prints.
AskHelper = Callable[[Sequence[str], str], str]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or a token that stands for both.

    Attributes:
        user: Empty with an identity token.
        secret: The password or the token; never shown.
        is_token: Whether `secret` is an identity token.
    """

    user: str
    secret: str
    is_token: bool = False

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, secret=…)"

    @property
    def basic(self) -> str:
        """The value of a Basic `Authorization` header."""
        text = f"{self.user}:{self.secret}".encode()
        return f"Basic {base64.b64encode(text).decode()}"


def credential_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Returns where logins are kept, in the order in which the tools look.

    Args:
        environment: The process's variables.
    """
    home = Path(environment.get("HOME", "/nonexistent"))
    found = []
    if named := environment.get("REGISTRY_AUTH_FILE"):
        found.append(Path(named))
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        found.append(Path(runtime) / "containers" / "auth.json")
    config = environment.get("XDG_CONFIG_HOME")
    found.append((Path(config) if config else home / ".config") / "containers" / "auth.json")
    docker = environment.get("DOCKER_CONFIG")
    found.append((Path(docker) if docker else home / ".docker") / "config.json")
    return tuple(found)


def find_credentials(
    registry: str, repository: str, files: Sequence[Path], ask: AskHelper
) -> Credentials | None:
    """Looks for a login that fits a repository, the closest one first.

    Args:
        registry: Host and port.
        repository: The path there.
        files: Where logins are kept.
        ask: Runs a credential helper.

    Returns:
        The login, or None when nobody has logged in.

    Raises:
        ConfigError: A file is there and cannot be understood.
    """
    for path in files:
        document = _read(path)
        for name in _names(registry, repository):
            found = _stored(document, name, path) or _helped(document, name, ask)
            if found is not None:
                return found
    return None


def _names(registry: str, repository: str) -> Iterator[str]:
    """Yields the keys a login may stand under: the repository, the folders above it, the host."""
    parts = [registry, *repository.split("/")]
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    yield f"https://{registry}"
    if registry == DOCKER_HUB:
        yield from _HUB_NAMES


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError:
        return {}
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", hint="log in to the registry anew") from (
            error
        )
    return document if isinstance(document, dict) else {}


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns a table of a file; an empty one where it is missing or something else."""
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _stored(document: Mapping[str, Any], name: str, path: Path) -> Credentials | None:
    entry = _table(document, "auths").get(name)
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Credentials("", str(token), is_token=True)
    if not entry.get("auth"):
        return None
    try:
        text = base64.b64decode(entry["auth"], validate=True).decode()
        user, secret = text.split(":", maxsplit=1)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(
            f"{path}: the login for {name} cannot be read", hint=f"log in to {name} anew"
        ) from error
    return Credentials(user, secret.rstrip("\0"))


def _helped(document: Mapping[str, Any], name: str, ask: AskHelper) -> Credentials | None:
    helper = _table(document, "credHelpers").get(name)
    if helper is None and name in _table(document, "auths"):
        # An empty entry there says that the store has it.
        helper = document.get("credsStore")
    if not helper:
        return None
    try:
        answer = json.loads(ask([f"docker-credential-{helper}", "get"], name))
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, EdgepackError):
        # A helper that has nothing ends with an error, as docker takes it too.
        return None
    return Credentials("" if user == _TOKEN_USER else user, secret, user == _TOKEN_USER)
