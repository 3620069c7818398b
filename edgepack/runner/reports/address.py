"""Where reports may be sent. Used by `transport` and by the settings file; opens nothing."""

from __future__ import annotations

import ipaddress
import urllib.parse

from edgepack.formats.errors import ConfigError


def check_url(url: str, *, with_token: bool) -> str:
    """Checks where reports are to go.

    Args:
        url: What was typed.
        with_token: Whether a bearer token would go along.

    Returns:
        The URL.

    Raises:
        ConfigError: Not an http or https URL, one with a password in it, or one over which a
            token would cross the network in the clear.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # An odd port or half an IPv6 address.
        parts, host = urllib.parse.urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or " " in url:
        raise ConfigError(
            f"'{url}' is not an http or https URL", hint="such as https://hub/reports"
        )
    if parts.username is not None:
        raise ConfigError(
            f"the URL of {host} carries a name or password",
            hint="put a bearer token into a file instead",
        )
    if with_token and parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError(f"the token would go to {host} in the clear", hint="use an https URL")
    return url


def is_loopback_url(url: str) -> bool:
    """Whether a URL's host is this very box."""
    return _is_loopback(urllib.parse.urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
