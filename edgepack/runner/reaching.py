"""Who listens on this box's own port, and whether a URL can be reached; a look, nothing is sent.

It is not aware of reports. Used by `doctor`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.parse

_WAIT_S = 5.0
_MAX_ANSWER_BYTES = 4096


def ask_port(port: int) -> str | None:
    """Asks whoever listens on loopback how it is.

    Args:
        port: The port.

    Returns:
        None when nobody listens; else the answer to `GET /healthz`, empty when it is none.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_S)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    finally:
        connection.close()


def reach(url: str) -> str | None:
    """Opens a connection to a URL's host, with TLS for https, and closes it.

    Args:
        url: An http or https URL.

    Returns:
        None when that went well, else why not.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "not an http or https URL"
        with socket.create_connection((parts.hostname, port), timeout=_WAIT_S) as connection:
            if parts.scheme == "https":
                context = ssl.create_default_context()
                with context.wrap_socket(connection, server_hostname=parts.hostname):
                    pass
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None
