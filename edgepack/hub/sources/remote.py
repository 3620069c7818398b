"""Asks a hub over HTTP; the one place of this side that imports the HTTP client.

It is not aware of how a hub answers inside. Used by `opening`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import httpx

from edgepack.formats.errors import BundleError, HubError
from edgepack.formats.evidence import Evidence, parse_evidence
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.params import Params, params_of
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Sheet, parse_sheet

#: Ten thousand devices as JSON have about 5 MB.
MAX_ANSWER_BYTES: Final = 64 * 2**20
#: Seconds to connect and between two parts of an answer; a hub that is well takes far less.
TIMEOUT_S: Final = 15.0
_OK: Final = 200
_NOT_FOUND: Final = 404
_REFUSED: Final = (401, 403)
_SHOWN_CHARACTERS: Final = 300


class HubSource:
    """A hub as a source."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        limit: int = MAX_ANSWER_BYTES,
        charts: bool = False,
    ) -> None:
        """Makes a source; nothing is sent yet.

        Args:
            url: The hub's address, such as `https://hub.example`, with any path before `/api`.
            token: A reader's or admin's token, or None.
            transport: What carries the requests; None for the network.
            limit: The most bytes of an answer that are read.
            charts: Whether the hub is asked to draw its answers too.
        """
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url.rstrip("/")
        self._limit = limit
        self._charts = charts
        # A redirect would carry the token to wherever the answer says.
        self._client = httpx.Client(
            headers=headers, timeout=TIMEOUT_S, transport=transport, follow_redirects=False
        )

    @property
    def name(self) -> str:
        """The hub's address, without what stands for a user in it."""
        return str(httpx.URL(self._url).copy_with(username=None, password=None))

    def fleet(self, query: FleetQuery) -> Sheet:
        """Answers with a page of the fleet."""
        return self._sheet("fleet", params_of(query))

    def device(self, name: str, *, days: int | None) -> Sheet:
        """Answers with one box over time."""
        params = [] if days is None else [("days", str(days))]
        return self._sheet(f"devices/{quote(name, safe='')}", params)

    def document(self, name: str, report_id: str) -> bytes:
        """Returns a report as the box sent it."""
        return self._get(f"devices/{quote(name, safe='')}/reports/{quote(report_id, safe='')}", ())

    def compare(self, query: CompareQuery) -> Sheet:
        """Compares setups, or says why not."""
        return self._sheet("compare", params_of(query))

    def releases(self, *, model: str | None, target: str | None) -> Sheet:
        """Lists releases."""
        asked = (("model", model), ("target", target))
        return self._sheet("releases", [(name, value) for name, value in asked if value])

    def release(self, bundle_id: str, *, before: str | None) -> Sheet:
        """Compares a release with an earlier one."""
        params = [("before", before)] if before else []
        return self._sheet(f"releases/{quote(bundle_id, safe='')}", params)

    def select(self, query: SelectQuery) -> Evidence:
        """Ranks the variants for a target."""
        try:
            return parse_evidence(self._get("select", params_of(query)))
        except BundleError as error:
            raise HubError(f"{self.name}: {error.message}") from error

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _sheet(self, path: str, params: Params) -> Sheet:
        data = self._get(path, [*params, ("charts", "1")] if self._charts else params)
        try:
            sheet = parse_sheet(data)
        except HubError as error:
            raise HubError(f"{self.name}: {error.message}", hint=error.hint) from error
        if self._charts and sheet.charts is None:
            return replace(sheet, lines=(*sheet.lines, "This hub is too old to send charts."))
        return sheet

    def _get(self, path: str, params: Params) -> bytes:
        """Gets an answer.

        Raises:
            HubError: The hub cannot be reached, refuses, or answers too much.
        """
        address = f"{self._url}/api/{path}"
        try:
            with self._client.stream("GET", address, params=list(params)) as response:
                data = self._read(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HubError(
                f"{self.name} cannot be asked: {error or type(error).__name__}",
                hint="is this the hub's address, and does it run?",
            ) from error
        if response.status_code != _OK:
            raise self._refusal(response.status_code, data)
        return data

    def _read(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > self._limit:
                raise HubError(
                    f"{self.name}: the answer has more than {self._limit} bytes",
                    hint="ask for less",
                )
            parts.append(part)
        return b"".join(parts)

    def _refusal(self, status: int, data: bytes) -> HubError:
        said = _said(data)
        if status in _REFUSED:
            return HubError(
                f"{self.name} refuses to answer ({status}){said}",
                hint="give a reader's token with --token-file or EDGEPACK_HUB_TOKEN",
            )
        if status == _NOT_FOUND:
            return HubError(
                f"{self.name}: there is no such thing, or this is no hub's address{said}"
            )
        return HubError(f"{self.name} answers with status {status}{said}")


def _said(data: bytes) -> str:
    """Returns what a hub says of its refusal, shortened; it is only shown."""
    try:
        value = json.loads(data)
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return ""
    words: Sequence[object] = [value.get(name) for name in ("message", "error", "detail")]
    text = next((each for each in words if isinstance(each, str) and each), "")
    shown = "".join(each if each.isprintable() else " " for each in text[:_SHOWN_CHARACTERS])
    return f": {shown}" if shown else ""
