"""Everything wrong that a client may send, again and again: 4xx with the place, flat memory, and others unharmed."""

import http.client
import json
import pickle
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from boucle.serving.api import ServerProcess, read_ack

pytestmark = pytest.mark.slow

ROUNDS = 12
"""After two that warm up."""
MOST_GROWTH_MB = 8.0
LIMIT_MB = 1
V2 = "/v2/models/flights/infer"
JSON = "application/json"
PICKLED = ["application/x-pickle", "application/python-pickle", "application/x-python-serialize", "application/x-npy"]
DOORS = [V2, "/v1/models/flights:predict", "/invocations", "/models/flights/invoke"]
DOORS += ["/v1/endpoints/1/deployedModels/2:predict", "/arrow/models/flights/predict"]


class Bad(NamedTuple):
    """One wrong request, and what is told of it."""

    name: str
    body: bytes
    told: str = ""
    path: str = V2
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    status: int = 400


def tensor(name: str, datatype: str, data: list[Any], shape: list[Any] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


CARRIER = tensor("carrier", "BYTES", ["AA", "UA"])
TEMP = tensor("temp", "FP64", [80.0, 70.0])


def v2(*inputs: dict[str, Any]) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


def binary(size: object, *, data: bytes = struct.pack("<2d", 1.0, 2.0), head: object = None) -> Bad:
    """A request whose second tensor follows the JSON; `size` is what it says to be, `head` where the JSON ends."""
    text = v2(CARRIER, {**TEMP, "data": None, "parameters": {"binary_data_size": size}}).replace(b', "data": null', b"")
    told = {"inference-header-content-length": str(len(text) if head is None else head)}
    return Bad(f"binary {size} {head}", text + data, headers=told)


BAD = [
    Bad("no JSON", b"\x00\xff{", ""),
    Bad("empty", b""),
    Bad("a list", b"[]"),
    Bad("deep", b"[" * 100_000),
    Bad("text for a number", v2(CARRIER, tensor("temp", "FP64", [80.0, "warm"])), "temp"),
    Bad("wrong dtype", v2(CARRIER, tensor("temp", "BYTES", ["80", "warm"])), "temp"),
    Bad("unknown dtype", v2(CARRIER, tensor("temp", "FP31", [80.0, 70.0])), "FP31"),
    Bad("number for a text", v2(tensor("carrier", "FP64", [1.0, 2.0]), TEMP), "carrier"),
    Bad("wrong shape", v2(CARRIER, tensor("temp", "FP64", [80.0, 70.0], [3])), "temp"),
    Bad("negative shape", v2(CARRIER, tensor("temp", "FP64", [80.0, 70.0], [-2])), "temp"),
    Bad("huge shape", v2(CARRIER, tensor("temp", "FP64", [80.0, 70.0], [2**62])), "temp"),
    Bad("two dimensions", v2(CARRIER, tensor("temp", "FP64", [80.0, 70.0], [1, 2])), "temp"),
    Bad("a shape of texts", v2(CARRIER, tensor("temp", "FP64", [80.0, 70.0], ["2"]))),
    Bad("a missing column", v2(TEMP), "carrier"),
    Bad("a column too many", v2(CARRIER, TEMP, tensor("wind", "FP64", [1.0, 2.0])), "wind"),
    Bad("a column twice", v2(CARRIER, TEMP, TEMP), "temp"),
    Bad("row counts", v2(CARRIER, tensor("temp", "FP64", [80.0])), "temp"),
    Bad("too many rows", v2(tensor("carrier", "BYTES", ["A"] * 51), tensor("temp", "FP64", [1.0] * 51)), "50"),
    Bad("infinite", b'{"inputs":[]}'.replace(b"[]", b'[{"name":"temp","shape":[1],"datatype":"FP64","data":[1e999]}]')),
    Bad("no model", v2(CARRIER, TEMP), "nothing", path="/v2/models/nothing/infer", status=404),
    Bad("no version", v2(CARRIER, TEMP), "99", path="/v2/models/flights/versions/99/infer", status=404),
    Bad("huge body", b" " * (LIMIT_MB * (1 << 20) + 1), status=413),
    binary(-1),
    binary(2**63),
    binary("16"),
    binary(15),
    binary(17),
    binary(16, data=b""),
    binary(16, data=b"\xff" * 100),
    binary(16, head=-1),
    binary(16, head="many"),
    binary(16, head=10**9),
    binary(16, head="9" * 400),
    Bad("garbage behind a header", b"\x00" * 200, headers={"inference-header-content-length": "100"}),
    Bad("a text too long", v2(CARRIER, TEMP), headers={"x-request-deadline-ms": "soon"}),
    Bad(
        "a wrong row",
        json.dumps({"instances": [{"carrier": "AA", "temp": 1}, {"carrier": "AA", "temp": "x"}]}).encode(),
        "temp",
        path="/v1/models/flights:predict",
    ),
    Bad(
        "a wrong CSV",
        b"carrier,temp\nAA,1\nAA,warm\n",
        "temp",
        path="/invocations",
        headers={"content-type": "text/csv"},
    ),
    Bad(
        "a wrong Arrow stream",
        b"ARROW1\x00\x00" + b"\xff" * 500,
        path="/arrow/models/flights/predict",
        headers={"content-type": "application/vnd.apache.arrow.stream"},
    ),
    *(
        Bad(f"pickled {path} {said}", pickle.dumps({"temp": 1}), path=path, headers={"content-type": said}, status=415)
        for path in DOORS
        for said in PICKLED
    ),
]


class Healthy(threading.Thread):
    """A client that asks rightly all the time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.seconds: list[float] = []
        self.wrong: list[object] = []
        self._url = urlsplit(url)

    def run(self) -> None:
        connection = http.client.HTTPConnection(str(self._url.hostname), self._url.port, timeout=30)
        while not self.over.wait(0.002):
            began = time.perf_counter()
            try:
                connection.request("POST", V2, v2(CARRIER, TEMP), {"content-type": JSON})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(error)
                return
            if answer.status != 200:
                self.wrong.append(answer.status)
            self.seconds.append(time.perf_counter() - began)
        connection.close()


@pytest.fixture(scope="module")
def served(shared_home: Any) -> Iterator[tuple[str, Path]]:
    shared_home.deploy(3)
    arguments = ["--max-body-mb", str(LIMIT_MB), "--max-rows", "50"]
    with ServerProcess(shared_home.path, "flights", arguments=arguments) as url:
        yield url, shared_home.path


def sent(url: str, bad: Bad) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    connection.request("POST", bad.path, bad.body, {"content-type": JSON, **bad.headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def rude(url: str) -> None:
    """Clients that leave in the middle: of the head, of the body, of chunks, and behind a length that is a lie."""
    parts = urlsplit(url)
    head = f"POST {V2} HTTP/1.1\r\nHost: localhost\r\n"
    body = v2(CARRIER, TEMP).decode()
    for text in (
        head,
        f"{head}Content-Length: {len(body)}\r\n\r\n{body[:30]}",
        f"{head}Content-Length: {10**6}\r\n\r\n{body}",
        f"{head}Transfer-Encoding: chunked\r\n\r\n1e\r\n{body[:30]}\r\n",
        f"{head}Transfer-Encoding: chunked\r\n\r\nffffffff\r\n{body}",
        f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        with suppress(OSError), socket.create_connection((str(parts.hostname), parts.port or 0), 10) as connection:
            connection.sendall(text.encode())


def resident_mb(home: Path) -> float:
    ack = read_ack(home, "flights")
    assert ack is not None
    return int(Path(f"/proc/{ack.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def test_every_wrong_request_is_told_its_place_and_costs_nobody_anything(served: tuple[str, Path]) -> None:
    url, home = served
    healthy = Healthy(url)
    healthy.start()
    parts = urlsplit(url)
    slow = [socket.create_connection((str(parts.hostname), parts.port or 0), 30) for _ in range(40)]
    for number, one in enumerate(slow):  # they stay, and send a byte now and then
        one.sendall(f"POST {V2} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{{".encode()[: 60 + number])
    before = 0.0
    for turn in range(ROUNDS + 2):
        if turn == 2:
            before = resident_mb(home)
        for bad in BAD:
            status, text = sent(url, bad)
            assert (bad.name, status) == (bad.name, bad.status), text
            assert bad.told in text, bad.name
            assert set(json.loads(text)) & {"error", "message"}, text
        rude(url)
        for one in slow:
            with suppress(OSError):
                one.sendall(b" ")
    grown = resident_mb(home) - before
    healthy.over.set()
    healthy.join()
    for one in slow:
        one.close()
    assert healthy.wrong == []
    assert len(healthy.seconds) > 100
    assert max(healthy.seconds) < 2.0, "nobody who asks rightly waits for who does not"
    assert grown < MOST_GROWTH_MB, f"{grown:.1f} MB in {ROUNDS} rounds"


def test_nan_is_a_missing_value_at_every_door(served: tuple[str, Path]) -> None:
    url, _ = served
    seen = {}
    for path, body in (
        (V2, v2(CARRIER, TEMP).replace(b"80.0", b"NaN")),
        ("/v1/models/flights:predict", b'{"instances": [{"carrier": "AA", "temp": NaN}]}'),
        ("/invocations", b'{"dataframe_records": [{"carrier": "AA", "temp": NaN}]}'),
    ):
        seen[path], text = sent(url, Bad("NaN", body, path=path))
        assert "Traceback" not in text
    assert seen == {V2: 200, "/v1/models/flights:predict": 200, "/invocations": 200}
