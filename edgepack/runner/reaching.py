"""Who listens on this box's own port, and whether a URL can be reached; a look, nothing is sent.

It is not aware of reports. Used by `doctor` and `status`.
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


def ask_health(port: int, *, tls: bool) -> str | None:
    """Asks the daemon on loopback whether it can serve.

    Args:
        port: Where it listens.
        tls: Whether it speaks TLS; its certificate names another host and is not judged.

    Returns:
        None when it is well, else what is wrong in words.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_S)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_WAIT_S, context=context
        )
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        text = answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"port {port} of this box does not answer: {error}"
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return None
    return f"/healthz answers {answer.status}: {text.strip()}"


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
