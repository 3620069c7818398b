"""Makes a box known to a hub: shows it an enrolment token once and keeps the box's own.

What was got stands in two files of the state folder, `hub.json` and `hub-token`; the settings
file comes before them. It is not aware of HTTP. Used by `enrol`, `report` and the daemon.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from edgepack.formats.errors import ConfigError, HubError
from edgepack.runner.durable import write_durably
from edgepack.runner.settings import HubSection

_HUB_FILE = "hub.json"
_TOKEN_FILE = "hub-token"  # noqa: S105 - a file's name
_MAX_FILE_BYTES = 8192
_CREATED = 201
_MAX_SHOWN = 200


class Asks(Protocol):
    """POSTs a JSON document and returns the status and the body; it may raise `HubError`."""

    def __call__(self, url: str, token: str, document: bytes) -> tuple[int, bytes]:
        """Asks once."""
        ...


def enrol(
    hub_url: str,
    token: str,
    device_id: str,
    state: Path,
    ask: Asks,
    *,
    label: str = "",
    ca_file: Path | None = None,
) -> str:
    """Enrols a box, and keeps its own token and where its reports go.

    Args:
        hub_url: The hub's address, such as `https://hub.example`, with any path before `/api`.
        token: The enrolment token.
        device_id: The box's random id.
        state: The box's state folder.
        ask: Carries the question.
        label: A word for people.
        ca_file: Certificates that were trusted for it, to be trusted for reports as well.

    Returns:
        Where reports go from now on.

    Raises:
        HubError: The hub cannot be reached or does not let the box in; nothing is kept then.
        ConfigError: The state folder cannot be written.
    """
    base = hub_url.rstrip("/")
    question = json.dumps({"device_id": device_id, "label": label}).encode()
    status, body = ask(f"{base}/api/enrol", token, question)
    own = _token_of(body) if status == _CREATED else None
    if own is None:
        raise HubError(
            f"{base}: the hub does not let this box in: HTTP {status}{_said(body)}",
            hint="edgepack hub token add --role enrol makes an enrolment token",
        )
    url = f"{base}/api/reports"
    known = {"url": url, "ca_file": None if ca_file is None else str(ca_file.absolute())}
    try:
        # The token first: an address without one would be tried in vain. The temporary file is
        # its writer's alone, and so is what comes of it.
        write_durably(state / _TOKEN_FILE, own.encode() + b"\n")
        (state / _TOKEN_FILE).chmod(0o600)
        write_durably(state / _HUB_FILE, json.dumps(known).encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"{state}: the token cannot be kept: {error}") from error
    return url


def enrolled_hub(settings: HubSection, state: Path | None) -> HubSection:
    """Returns where reports go: as the settings say, else where the box was enrolled.

    Args:
        settings: The settings file's `[hub]`.
        state: The box's state folder, or None.

    Returns:
        The section, with address, token file and certificates.
    """
    if settings.url is not None or state is None:
        return settings
    try:
        with (state / _HUB_FILE).open("rb") as file:
            known = json.loads(file.read(_MAX_FILE_BYTES))
        url, ca_file = known["url"], known.get("ca_file")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Never enrolled, or not legible any more: the reports wait.
        return settings
    if not isinstance(url, str):
        return settings
    return replace(
        settings,
        url=url,
        token_file=settings.token_file or state / _TOKEN_FILE,
        ca_file=settings.ca_file or (Path(ca_file) if isinstance(ca_file, str) else None),
    )


def _token_of(body: bytes) -> str | None:
    try:
        token = json.loads(body)["token"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    return token if fits and token else None


def _said(body: bytes) -> str:
    try:
        text = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {text[:_MAX_SHOWN]}" if isinstance(text, str) else ""
