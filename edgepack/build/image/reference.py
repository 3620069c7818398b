"""The names of images, such as `registry.example/shop/session:1.0.0`, taken apart and checked.

It is not aware of registries or tools. Used by the other modules of `image`.

Source: the grammar of `github.com/distribution/reference`, which all three tools share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgepack.formats.errors import ConfigError

DOCKER_HUB: Final = "docker.io"
#: A name that lives in a tool's own storage and in no registry.
LOCAL_HOST: Final = "localhost"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_NAME: Final = 255
#: Of a host name, by RFC 1035.
_MAX_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class Reference:
    """One image's name.

    Attributes:
        registry: Host and port, `docker.io` where none was written.
        repository: The path there.
        tag: Such as `1.0.0`, or None.
        digest: `sha256:…`, or None.
        qualified: Whether a registry was written down.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None
    qualified: bool = True

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def is_local(self) -> bool:
        """Whether it names an image of a tool's own storage."""
        return self.registry == LOCAL_HOST

    def at(self, digest: str) -> str:
        """Returns the name pinned to a digest."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str, what: str) -> Reference:
    """Takes an image's name apart.

    Args:
        text: As typed.
        what: The option it came from, for the error's text.

    Returns:
        The name; its tag is `latest` where there is neither a tag nor a digest.

    Raises:
        ConfigError: No tool would take it; the text says which part is wrong.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _refuse(text, what, f"the digest '{digest:.80}' is not sha256: and 64 digits")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise _refuse(text, what, f"the tag '{tag:.150}' is not 1 to 128 of A-Z a-z 0-9 _ . -")
    first, slash, path = head.partition("/")
    qualified = bool(slash) and ("." in first or ":" in first or first == LOCAL_HOST)
    registry, repository = (first, path) if qualified else (DOCKER_HUB, head)
    if qualified and not _HOST.fullmatch(registry):
        raise _refuse(text, what, f"'{registry:.80}' is not a registry's host and port")
    if qualified and max(map(len, registry.partition(":")[0].split("."))) > _MAX_LABEL:
        raise _refuse(text, what, f"a part of the host is longer than {_MAX_LABEL} characters")
    if not _REPOSITORY.fullmatch(repository):
        raise _refuse(
            text, what, f"'{repository:.80}' is not a name: small letters, digits, . _ - and /"
        )
    if len(repository) > _MAX_NAME:
        raise _refuse(text, what, f"the name is longer than {_MAX_NAME} characters")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not tag and not digest:
        tag = "latest"
    return Reference(registry, repository, tag or None, digest or None, qualified)


def _refuse(text: str, what: str, why: str) -> ConfigError:
    return ConfigError(
        f"{what}: '{text:.200}' is no image name: {why}",
        hint=f"write it like {what} registry.example/shop/session:1.0.0",
    )
