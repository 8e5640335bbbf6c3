"""TLS of the server: the files that it needs, and asking whether it answers, whoever signed its certificate."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from boucle.kernel.errors import InvalidInput


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
    import http.client  # the server loads it while its worker starts

    parts = urlsplit(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")
    try:
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            # It is our own server: its certificate is for other names.
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(host, parts.port, timeout=5.0, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=5.0)
        connection.request("GET", "/v2/health/ready", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refused() -> str:
    raise ValueError("the key has a password")
