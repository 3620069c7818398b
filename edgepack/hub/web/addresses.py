"""The addresses of pages and answers, so that every view can be shared.

It is not aware of what a page shows. Used by the pages and their views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from edgepack.hub.answers.params import Params


@dataclass(frozen=True, slots=True)
class Addresses:
    """Makes addresses under a prefix.

    Attributes:
        prefix: What a proxy puts before every path, without a slash at its end; None: there are
            no addresses, as in a file that stands by itself.
    """

    prefix: str | None = ""

    def to(self, *parts: str, params: Iterable[tuple[str, str]] = ()) -> str | None:
        """Returns an address.

        Args:
            parts: The parts of its path; whatever they hold is quoted.
            params: What is asked for.

        Returns:
            Such as `/devices/kiosk-17?days=30`, or None where there are no addresses.
        """
        if self.prefix is None:
            return None
        path = "/".join(quote(each, safe="") for each in parts)
        asked = urlencode(list(params))
        return f"{self.prefix}/{path}{'?' if asked else ''}{asked}"

    def device(self, name: str) -> str | None:
        """Returns a device's page."""
        return self.to("devices", name)

    def document(self, name: str, report_id: str) -> str | None:
        """Returns the page of a report as the device sent it."""
        return self.to("devices", name, "reports", report_id)

    def release(self, bundle_id: str) -> str | None:
        """Returns a release's page."""
        return self.to("releases", bundle_id)


def changed(params: Params, **values: str | int | None) -> list[tuple[str, str]]:
    """Replaces parameters.

    Args:
        params: What is asked now.
        values: By name; None takes a parameter away.

    Returns:
        The parameters of another view.
    """
    kept = [(name, value) for name, value in params if name not in values]
    return kept + [(name, str(value)) for name, value in values.items() if value is not None]
