"""Keys of endpoints: who may ask, how often, and that nothing else opens."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from boucle.app.main import run_command
from boucle.app.serve import serve
from boucle.app.tls import Tls
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.serving.api import ServerProcess, deploy
from boucle.serving.keys import add_key, keys_file, open_again, read_keys, remove_key

pytestmark = pytest.mark.slow

Home = Any
"""`ServingHome` of conftest.py."""
BODY = json.dumps(
    {
        "inputs": [
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
            {"name": "temp", "shape": [1], "datatype": "FP64", "data": [80.0]},
        ]
    }
).encode()


def ask(
    url: str, endpoint: str = "flights", key: str | None = None, *, context: ssl.SSLContext | None = None
) -> tuple[int, str, dict[str, str]]:
    """Status, the error if there is one, and the headers."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    else:
        connection = http.client.HTTPSConnection("localhost", parts.port, timeout=30, context=context)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with closing(connection):
        connection.request("POST", f"/v2/models/{endpoint}/infer", BODY, headers)
        response = connection.getresponse()
        said = json.loads(response.read())
    return response.status, said.get("error", ""), {name.lower(): value for name, value in response.getheaders()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.fixture(scope="module")
def served(shared_home: Home) -> Iterator[tuple[str, Path]]:
    """Two workers for two endpoints: `flights`, and `eu`, which has no key at first."""
    traffic = shared_home.deploy(1)
    with Store.open(shared_home.path) as store:
        deploy(
            store,
            project_id="flights",
            number=1,
            bundle_digest=traffic.champion.bundle_digest,
            endpoint="eu",
            model="flights",
        )
    server = ServerProcess(shared_home.path, "flights", arguments=["--endpoint", "eu", "--workers", "2"])
    with server as url:
        yield url, shared_home.path


def test_a_key_for_what_is_no_endpoint_yet_is_made_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    with Store.open(tmp_path / "home"):
        pass
    assert run_command(["keys", "add", "flihgts", "app", *home]) == 0
    assert "There is no endpoint flihgts yet" in capsys.readouterr().out
    assert run_command(["keys", "add", "flihgts", "other", "--json", *home]) == 0
    assert json.loads(capsys.readouterr().out)["known"] is False


def test_no_key_changes_that_the_audit_log_cannot_name(tmp_path: Path) -> None:
    kept = add_key(tmp_path, "eu", "kept", per_second=None, now_ms=0)[1]
    add_key(tmp_path, "us", "gone", per_second=None, now_ms=0)
    remove_key(tmp_path, "us", "gone")

    def fail(*_: object) -> None:
        raise Conflict("no room for the audit log")

    for change in (
        lambda: add_key(tmp_path, "eu", "app", per_second=None, now_ms=0, permitted=fail),
        lambda: remove_key(tmp_path, "eu", "kept", permitted=fail),
        lambda: open_again(tmp_path, "us", permitted=fail),
    ):
        with pytest.raises(Conflict, match="no room"):
            change()
    assert read_keys(tmp_path, "eu").keys == [kept]
    assert not read_keys(tmp_path, "us").open


def test_a_key_opens_its_endpoint_and_no_other(served: tuple[str, Path]) -> None:
    url, home = served
    assert ask(url)[0] == 200, "without any key this machine may ask"
    mine, _ = add_key(home, "flights", "app", per_second=None, now_ms=0)
    wait_until(lambda: all(ask(url)[0] == 401 for _ in range(24)))
    status, error, headers = ask(url)
    assert "endpoint 'flights' is asked with a key" in error
    assert "www-authenticate" in headers
    assert ask(url, key=mine)[0] == 200
    assert ask(url, "eu")[0] == 200, "an endpoint without keys stays open to this machine"
    assert ask(url, "eu", key=mine)[0] == 403, "but a key opens no endpoint of others"
    other, _ = add_key(home, "eu", "app", per_second=None, now_ms=0)
    wait_until(lambda: all(ask(url, "eu")[0] == 401 for _ in range(24)))
    status, error, _ = ask(url, "eu", key=mine)
    assert status == 403
    assert "is for endpoint 'flights', not for 'eu'" in error
    assert ask(url, "eu", key=other)[0] == 200
    for wrong in ("x", mine[:-1] + ("0" if mine[-1] != "0" else "1"), other.replace("boucle_", "boucle_0", 1), ""):
        assert ask(url, key=wrong)[0] == 401
    remove_key(home, "eu", "app")
    wait_until(lambda: all(ask(url, "eu", key=other)[0] == 401 for _ in range(24)))
    assert ask(url, "eu")[0] == 401, "what lost its last key is closed"
    with pytest.raises(Conflict, match="has keys: app"):
        open_again(home, "flights")
    open_again(home, "eu")
    wait_until(lambda: all(ask(url, "eu")[0] == 200 for _ in range(24)))
    with pytest.raises(NotFound, match="without a key already"):
        open_again(home, "eu")
    again, _ = add_key(home, "eu", "app", per_second=None, now_ms=0)
    wait_until(lambda: all(ask(url, "eu")[0] == 401 for _ in range(24)))
    assert ask(url, "eu", key=again)[0] == 200
    remove_key(home, "eu", "app")
    remove_key(home, "flights", "app")
    assert mine not in keys_file(home, "flights").read_text()
    keys_file(home, "flights").unlink()
    keys_file(home, "eu").unlink()
    wait_until(lambda: all(ask(url)[0] == 200 and ask(url, "eu")[0] == 200 for _ in range(24)))


def test_a_rate_holds_over_all_workers(served: tuple[str, Path]) -> None:
    url, home = served
    key, _ = add_key(home, "flights", "slow", per_second=5, now_ms=0)
    wait_until(lambda: all(ask(url)[0] == 401 for _ in range(24)))
    began = time.monotonic()
    answers = [ask(url, key=key) for _ in range(40)]
    seconds = time.monotonic() - began
    passed = [one for one in answers if one[0] == 200]
    busy = [one for one in answers if one[0] == 429]
    assert len(passed) + len(busy) == 40
    assert 5 <= len(passed) <= 5 + 5 * seconds + 2
    if busy:
        assert "may ask 5 times a second" in busy[0][1]
        assert int(busy[0][2]["retry-after"]) >= 1
    keys_file(home, "flights").unlink()
    wait_until(lambda: all(ask(url)[0] == 200 for _ in range(24)))


def test_keys_do_not_mix_between_requests_at_the_same_time(served: tuple[str, Path]) -> None:
    url, home = served
    key, _ = add_key(home, "flights", "one", per_second=None, now_ms=0)
    wait_until(lambda: all(ask(url)[0] == 401 for _ in range(24)))
    seen: dict[str, set[int]] = {"with": set(), "without": set()}

    def asking(name: str, given: str | None) -> None:
        for _ in range(40):
            seen[name].add(ask(url, key=given)[0])

    threads = [threading.Thread(target=asking, args=("with", key)) for _ in range(3)]
    threads += [threading.Thread(target=asking, args=("without", None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys_file(home, "flights").unlink()
    assert seen == {"with": {200}, "without": {401}}
    wait_until(lambda: all(ask(url)[0] == 200 for _ in range(24)))


def test_keys_that_cannot_be_read_open_nothing(served: tuple[str, Path]) -> None:
    url, home = served
    key, _ = add_key(home, "flights", "one", per_second=None, now_ms=0)
    file = keys_file(home, "flights")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x41
    file.write_bytes(data)
    wait_until(lambda: all(ask(url, key=key)[0] == 401 for _ in range(24)))
    assert ask(url)[0] == 401
    file.unlink()
    wait_until(lambda: all(ask(url)[0] == 200 for _ in range(24)))


def test_https_is_answered_with_the_given_certificate(serving_home: Home) -> None:
    serving_home.deploy(1)
    files = Path(__file__).parent / "tls"  # made for these tests, of localhost, for a hundred years
    certificate, key = files / "cert.pem", files / "key.pem"
    server = ServerProcess(
        serving_home.path, "flights", arguments=["--tls-certificate", str(certificate), "--tls-key", str(key)]
    )
    with server as url:
        assert url.startswith("https://")
        assert ask(url, context=ssl.create_default_context(cafile=str(certificate)))[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(url, context=ssl.create_default_context())
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(url.replace("https", "http"))


def test_what_is_no_certificate_with_its_key_is_told(serving_home: Home) -> None:
    serving_home.deploy(1)
    certificate = Path(__file__).parent / "tls" / "cert.pem"
    for given, told in (
        ((certificate, None), "only one of them is given"),
        ((certificate, certificate), "are no certificate with its key"),
        ((certificate, Path("nowhere.pem")), "there is no file 'nowhere.pem'"),
    ):
        with pytest.raises(InvalidInput, match=told):
            serve(serving_home.path, ["flights"], port=1, tls=Tls.of(*given))
