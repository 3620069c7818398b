"""Makes the TLS side of the port; the only file of the server that imports `ssl`.

Used by the daemon.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from edgepack.formats.errors import ConfigError


def open_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Reads a certificate and its key.

    Args:
        certificate: PEM file of the certificate and its chain.
        key: PEM file of its key, without a password: nobody is there to type one.

    Returns:
        A context that speaks TLS 1.2 and newer.

    Raises:
        ConfigError: A file cannot be read, or the two do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        # ssl.SSLError is one of them.
        reason = error.strerror or error
        raise ConfigError(
            f"serve.tls_certificate {certificate} with serve.tls_key {key}: {reason}",
            hint="both are PEM files, the key without a password",
        ) from error
    return context
