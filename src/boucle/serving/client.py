"""A client of the Open Inference Protocol V2 over one kept-alive connection: the standard library and msgspec only."""

import http.client
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from boucle.kernel.errors import InvalidInput, NotFound, Refused, Unavailable

Value = float | int | str | None
_ERRORS: Final = {400: InvalidInput, 403: Refused, 404: NotFound, 413: InvalidInput}


class _Tensor(Struct):
    name: str
    data: list[Any]


class _Answer(Struct):
    outputs: list[_Tensor]
    id: str | None = None
    model_version: str | None = None


class InferClient:
    """Asks one endpoint. Not safe for threads: one client a thread.

    A request that finds its kept connection closed by the server is sent once more; the request id makes that harmless.
    """

    def __init__(self, base_url: str, endpoint: str, timeout_s: float = 60.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidInput(f"{base_url!r} is no address of a server; allowed is http://HOST:PORT")
        self._base_url = base_url
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._path = f"/v2/models/{quote(endpoint, safe='')}/infer"
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(_Answer)

    def infer(
        self, request_id: str, columns: Mapping[str, Sequence[Value]], kinds: Mapping[str, str]
    ) -> dict[str, list[Any]]:
        """The outputs for these rows, by name, each as long as the columns.

        `kinds` is `number` for numeric columns; every other column (categories, the key, the time) is sent as text.
        InvalidInput if the server turns the request down, Unavailable if it cannot be reached.
        """
        inputs = [
            {
                "name": name,
                "shape": [len(values)],
                "datatype": "FP64" if kinds.get(name) == "number" else "BYTES",
                "data": values,
            }
            for name, values in columns.items()
        ]
        body = self._encoder.encode({"id": request_id, "inputs": inputs})
        status, data = self._send("POST", self._path, body)
        if status != 200:
            raise _ERRORS.get(status, Unavailable)(
                f"{self._base_url} turned request {request_id!r} down: {_said(data)}"
            )
        return {tensor.name: tensor.data for tensor in self._decoder.decode(data).outputs}

    def is_ready(self) -> bool:
        """Whether the server answers and has loaded its bundle."""
        try:
            return self._send("GET", "/v2/health/ready", None)[0] == 200
        except Unavailable:
            return False

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        self._connection.close()

    def __enter__(self) -> "InferClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._once(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self._connection.close()
            if not kept:
                raise self._unavailable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unavailable(error) from error
        try:
            return self._once(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unavailable(error) from error

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(f"no answer from {self._base_url}: {error}", hint="start the server: boucle serve")


def _said(data: bytes) -> str:
    """The server's own words, or what came instead of them."""
    try:
        return msgspec.json.decode(data, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        return data[:200].decode(errors="replace")
