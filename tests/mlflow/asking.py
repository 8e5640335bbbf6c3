"""Asks a server over one connection that is kept, and made anew when the server went away."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """Status and body; the body as JSON where it is JSON."""

    status: int
    body: Any

    @property
    def error_code(self) -> str | None:
        """What an error is called; None for any other answer."""
        return self.body.get("error_code") if isinstance(self.body, dict) and self.status >= 400 else None


class Asker:
    """One connection. For one thread."""

    def __init__(self, url: str, prefix: str = "") -> None:
        self._address = urlsplit(url).netloc
        self._prefix = prefix
        self._connection = http.client.HTTPConnection(self._address, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Ask; `body` is bytes, or something to write as JSON. OSError or HTTPException if there is no answer."""
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            self._connection.request(method, self._prefix + path, sent, headers or {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        try:
            return Answer(response.status, json.loads(text))
        except ValueError:
            return Answer(response.status, text)

    def mlflow(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask a route below `/api/2.0/mlflow/`."""
        return self(method, f"/api/2.0/mlflow/{path}", body)

    def close(self) -> None:
        """End the connection; the next question makes another."""
        self._connection.close()
