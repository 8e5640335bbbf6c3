"""TLS of the server: the files that it needs, and asking whether it answers, whoever signed its certificate."""

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from boucle.kernel.errors import InvalidInput

_READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""By hand: to load `http.client` for it takes longer than to ask."""


class Tls(Struct, frozen=True):
    """A certificate, with those that vouch for it behind it, and its key: PEM files."""

    certificate: Path
    key: Path

    @staticmethod
    def of(certificate: Path | None, key: Path | None) -> "Tls | None":
        """None if neither is given; InvalidInput if one is missing."""
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise InvalidInput(
                "HTTPS needs a certificate and its key, and only one of them is given",
                hint="boucle serve --tls-certificate cert.pem --tls-key key.pem",
            )
        return Tls(certificate, key)


def check_tls(tls: Tls) -> None:
    """InvalidInput if the files are not there, cannot be read, or do not belong together."""
    for file in (tls.certificate, tls.key):
        if not file.is_file():
            raise InvalidInput(f"there is no file {str(file)!r}", hint="give the paths of PEM files")
    try:
        # A password would be asked for on the terminal: a server that is started unattended has none.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password=_refused)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidInput(
            f"{str(tls.certificate)!r} and {str(tls.key)!r} are no certificate with its key: {error}",
            hint="give PEM files, the key without a password",
        ) from error


def is_ready(address: str) -> bool:
    """Whether the server at an address of this machine answers, and is ready."""
    parts = urlsplit(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")
    try:
        connection = socket.create_connection((host, parts.port), timeout=5.0)
        if parts.scheme == "https":
            # It is our own server: its certificate is for other names.
            connection = ssl._create_unverified_context().wrap_socket(connection)
        with connection, connection.makefile("rb") as answer:
            connection.sendall(_READY)
            return answer.readline().startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def _refused() -> str:
    raise ValueError("the key has a password")
