"""What `boucle up` keeps in memory while much goes through it: large files, large bodies, many of them at once."""

import hashlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.slow

MIB = 1 << 20
ARTIFACTS = "/api/2.0/mlflow-artifacts"
PIECE = bytes(range(256)) * 4096
FLAT = 200 * MIB
"""`boucle up` has about 120 MB; however large a file is, its peak must not come near that much more."""


class Up(NamedTuple):
    """A real server, and its process."""

    port: int
    process: "subprocess.Popen[str]"
    home: Path

    @property
    def peak(self) -> int:
        """The most memory that the process ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def run(self) -> str:
        """The place of a new run's artifacts."""
        _, body, _ = self.ask("POST", "/api/2.0/mlflow/runs/create", json.dumps({"experiment_id": "0"}))
        return f"0/{json.loads(body)['run']['info']['run_id']}/artifacts"

    def download(self, path: str) -> tuple[str, int]:
        """Digest and size of what comes down."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers.get_all("x-content-type-options") == ["nosniff"]
        found, size = hashlib.sha256(), 0
        while piece := answer.read(MIB):
            found.update(piece)
            size += len(piece)
        connection.close()
        return found.hexdigest(), size


@pytest.fixture
def up(tmp_path: Path, free_port: int) -> Iterator[Up]:
    command = [sys.executable, "-m", "boucle", "up", "--port", str(free_port)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("MLFLOW_TRACKING_URI" in line for line in process.stdout)
    yield Up(free_port, process, tmp_path / ".boucle")
    process.terminate()
    process.communicate(timeout=60)
    shutil.rmtree(tmp_path / ".boucle")  # pytest keeps folders; these are too large for that


def pieces(first: int, count: int) -> Iterator[bytes]:
    """MiBs of a file, each with its number, so that none can be taken for another."""
    for number in range(first, first + count):
        yield number.to_bytes(8, "big") + PIECE[8:]


def there_and_back(up: Up, mib: int) -> None:
    """Send a file as one body, and take it back."""
    path, length = f"{ARTIFACTS}/artifacts/{up.run()}/whole.bin", str(mib * MIB)
    assert up.ask("PUT", path, pieces(0, mib), content_length=length)[0] == 200
    assert up.download(path) == (digest_of(mib), mib * MIB)


def there_in_parts_and_back(up: Up, mib: int, parts: int) -> None:
    """Send a file in parts of equal size, as clients do with large ones, and take it back."""
    place, each = up.run(), mib // parts
    begun = json.dumps({"path": "parted.bin", "num_parts": parts})
    status, body, _ = up.ask("POST", f"{ARTIFACTS}/mpu/create/{place}", begun)
    assert status == 200
    made, done = json.loads(body), []
    for one in made["credentials"]:
        first = each * (one["part_number"] - 1)
        path = one["url"].partition(f":{up.port}")[2]
        status, _, headers = up.ask("PUT", path, pieces(first, each), content_length=str(each * MIB))
        assert status == 200
        done.append({"part_number": one["part_number"], "etag": headers["etag"]})
    ended = json.dumps({"path": "parted.bin", "upload_id": made["upload_id"], "parts": done})
    assert up.ask("POST", f"{ARTIFACTS}/mpu/complete/{place}", ended)[0] == 200
    assert up.download(f"{ARTIFACTS}/artifacts/{place}/parted.bin") == (digest_of(mib), mib * MIB)


def digest_of(mib: int) -> str:
    """Of a file of so many pieces."""
    found = hashlib.sha256()
    for piece in pieces(0, mib):
        found.update(piece)
    return found.hexdigest()


def test_a_large_artifact_goes_up_and_down_with_flat_memory(up: Up) -> None:
    there_and_back(up, 300)
    there_in_parts_and_back(up, 300, parts=3)
    assert up.peak < FLAT


@pytest.mark.long
def test_five_gigabytes_go_up_and_down_with_flat_memory(up: Up) -> None:
    """In one piece; in parts a gigabyte, which takes twice the room."""
    room = shutil.disk_usage(up.home).free
    if room < 10 << 30:
        pytest.skip(f"8 GB are needed for a while, and {room >> 30} GB are free")
    there_and_back(up, 5 * 1024)
    there_in_parts_and_back(up, 1024, parts=8)
    assert up.peak < FLAT


def test_many_large_bodies_at_once_are_refused_before_memory_grows(up: Up) -> None:
    """Forty times 30 MiB, all of them on their way at the same time, where 256 MiB in all are allowed."""
    _, body, _ = up.ask("POST", "/api/2.0/mlflow/runs/create", json.dumps({"experiment_id": "0"}))
    run = json.loads(body)["run"]["info"]["run_id"]
    before, count, size = up.peak, 40, 30 * MIB
    content = json.dumps({"run_id": run, "status": "RUNNING"}).encode()
    content += b" " * (size - len(content))
    head = (
        f"POST /api/2.0/mlflow/runs/update HTTP/1.1\r\nhost: 127.0.0.1:{up.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
    ).encode()
    all_sent, statuses = threading.Barrier(count), list[int]()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", up.port), timeout=120) as client:
            client.sendall(head + content[:-1])
            all_sent.wait(120)  # nobody is answered before all are there
            client.sendall(content[-1:])
            statuses.append(int(client.recv(4096).split()[1]))

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == count
    assert set(statuses) == {200, 503}
    assert statuses.count(200) <= 256 // 30
    assert up.peak - before < 512 * MIB
    assert up.ask("POST", "/api/2.0/mlflow/runs/update", content)[0] == 200, "all of it is given back"


def test_bodies_that_are_only_announced_keep_nobody_out(up: Up) -> None:
    head = f"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nhost: 127.0.0.1:{up.port}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {MIB}\r\n\r\n{{"
    clients = [socket.create_connection(("127.0.0.1", up.port), timeout=60) for _ in range(260)]
    try:
        for client in clients:
            client.sendall(head.encode())
        up.run()  # these are taken in the order in which they came
        assert up.ask("POST", "/api/2.0/mlflow/runs/create", json.dumps({"experiment_id": "0"}))[0] == 200
    finally:
        for client in clients:
            client.close()


def test_a_huge_body_is_refused_before_it_is_sent(up: Up) -> None:
    before = up.peak
    for length in (33 * MIB, 10 << 40):
        with socket.create_connection(("127.0.0.1", up.port), timeout=60) as client:
            client.sendall(
                f"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nhost: 127.0.0.1:{up.port}\r\n"
                f"content-length: {length}\r\n\r\n".encode()
            )
            if length < 256 * MIB:  # so much is read on, so that the client sees the answer
                for piece in pieces(0, length // MIB):
                    client.sendall(piece)
            assert client.recv(4096).startswith(b"HTTP/1.1 413")
    assert up.peak - before < 64 * MIB
