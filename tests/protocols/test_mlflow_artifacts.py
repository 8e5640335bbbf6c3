"""MLflow's artifact routes: files up, down, listed, deleted, in parts; and no name that leads elsewhere."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest

from boucle.identity.http import Request, Response, Route
from boucle.kernel import presence
from boucle.kernel.care.layout import kind_of
from boucle.kernel.digests import digest_bytes
from boucle.kernel.locks import turn
from boucle.kernel.store import Store
from boucle.protocols.mlflow import artifacts, multipart
from boucle.runs import routes as of_runs
from boucle.runs.api import start_run

from .mlflow_doors import Ask, Cut, asker

ROOT = "/mlflow-artifacts/artifacts"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> str:
    return start_run(store, project_id="shop", experiment="e", name="r", params={}).id


@pytest.fixture
def ask(store: Store) -> Ask:
    return asker(store)


@pytest.fixture
def at(run: str) -> str:
    return f"1/{run}/artifacts"


@pytest.mark.parametrize("size", [0, 3, 5_000_000])
def test_a_file_comes_back_as_it_was_sent(ask: Ask, at: str, run: str, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert ask("PUT", f"{ROOT}/{at}/plots/r%C3%A9sum%C3%A9.html", content).json == {}
    got = ask("GET", f"{ROOT}/{at}/plots/r%C3%A9sum%C3%A9.html")
    assert got.content == content
    assert got.headers["type"] == "text/html"
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.html"
    assert ask("GET", f"/get-artifact?run_id={run}&path=plots/r%C3%A9sum%C3%A9.html").content == content


def test_lists_name_what_is_in_a_folder(ask: Ask, at: str, run: str) -> None:
    for name in ("model/MLmodel", "model/data/a", "b.txt"):
        ask("PUT", f"{ROOT}/{at}/{name}", b"12345")
    folder, file = {"path": "model", "is_dir": True}, {"path": "b.txt", "is_dir": False, "file_size": 5}
    assert ask("GET", f"{ROOT}?path={at}").json == {"files": [file, folder]}
    assert ask("GET", f"{ROOT}?path={at}/model").json["files"][0]["path"] == "MLmodel"
    listed = ask("GET", f"/mlflow/artifacts/list?run_id={run}&path=model").json
    assert listed["root_uri"] == f"mlflow-artifacts:/{at}"
    assert [one["path"] for one in listed["files"]] == ["model/MLmodel", "model/data"]
    assert ask("GET", f"{ROOT}?path={at}/b.txt").json == ask("GET", ROOT).json == {}


def test_deleting_a_folder_takes_what_is_in_it(ask: Ask, at: str) -> None:
    for name in ("model/MLmodel", "b.txt"):
        ask("PUT", f"{ROOT}/{at}/{name}", b"x")
    assert ask("DELETE", f"{ROOT}/{at}/model").json == {}
    assert [one["path"] for one in ask("GET", f"{ROOT}?path={at}").json["files"]] == ["b.txt"]
    assert ask("GET", f"{ROOT}/{at}/model/MLmodel").json["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ask("DELETE", f"{ROOT}/{at}/").json == {}
    assert ask("GET", f"{ROOT}?path={at}").json == {}
    assert ask("DELETE", f"{ROOT}/1/models/m-nothing/artifacts/").status == 404
    assert ask("PUT", f"{ROOT}/{at}/", b"x").status == 400


def test_a_body_that_is_cut_off_leaves_nothing_and_what_was_there_stays(store: Store, ask: Ask, at: str) -> None:
    ask("PUT", f"{ROOT}/{at}/a", b"whole")
    began = time.process_time()
    ask("PUT", f"{ROOT}/{at}/a", Cut([b"x"] * 60_000))
    assert time.process_time() - began < 10, "its time grows with the square of the number of pieces"
    cut = ask("PUT", f"{ROOT}/{at}/a", Cut([b"x" * 2_000_000, b"y"]))
    assert cut.json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert ask("GET", f"{ROOT}/{at}/a").content == b"whole"
    assert list((store.home / "blobs" / "incoming").iterdir()) == []


def who_lets_go(store: Store, route: Route, values: dict[str, str]) -> str:
    """Ask a route while garbage collection holds the blobs, which the route's own loop ends: if it goes on."""
    collecting = turn(store.blobs.root / presence.LOCK)
    told: list[str] = []
    once = threading.Lock()

    def let_go(who: str) -> None:
        with once:
            if not told:
                collecting.__exit__()
            told.append(who)

    async def ask() -> None:
        asyncio.get_running_loop().call_later(0.1, let_go, "the loop")
        await cast(Awaitable[Response], route.handler(Request("PUT", "", values=values, body=b"x", project="shop")))

    late = threading.Timer(5.0, let_go, ["nobody else"])
    collecting.__enter__()
    late.start()
    try:
        asyncio.run(ask())
    finally:
        late.cancel()
    return told[0]


def test_the_server_goes_on_while_an_upload_waits_for_garbage_collection(store: Store, ask: Ask, at: str) -> None:
    upload_id, _ = begin(ask, at, 1)
    doors = [*artifacts.routes(store), *multipart.routes(store), *of_runs.routes(store)]
    for path, values in (
        ("/mlflow-artifacts/artifacts/{path...}", {"path": f"{at}/a"}),
        ("/mlflow-artifacts/mpu/part/{upload_id}/{number}", {"upload_id": upload_id, "number": "1"}),
        ("/blobs/{digest}", {"digest": digest_bytes(b"x")}),
    ):
        (route,) = [one for one in doors if (one.method, one.path) == ("PUT", path)]
        assert who_lets_go(store, route, values) == "the loop", path
    assert ask("GET", f"{ROOT}/{at}/a").content == b"x"


LEADING_AWAY = ["..", "../x", "%2e%2e/x", "%2e%2e%2fx", "%252e%252e/x", "%252e%252e%252fx", "a%5cb", "%5c..%5cx", "%00"]
LEADING_AWAY += [
    "a//b",
    "/etc",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:/x",
    "file:/etc/passwd",
    "file:%2f%2f%2fetc",
    "./a",
    "a/./b",
]
LEADING_AWAY += [quote(name) for name in ("..\u2215x", "\uff0e\uff0e/x", "a\uff0fb", "a\uff3cb", "\u2025/x")]
LEADING_AWAY += ["%ff%fe", "a" * 10_000, "a/" * 5_000 + "b", "%c0%ae%c0%ae/x", "a%0ab", "..;/x/../.."]


@pytest.mark.parametrize("name", LEADING_AWAY, ids=lambda name: ascii(name[:30]))
def test_no_name_leads_outside(store: Store, ask: Ask, at: str, run: str, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "x"
    secret.write_text("secret")
    (store.home / "x").write_text("secret")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "blobs" not in path.parts}
    answers = [
        ask("GET", f"{ROOT}/{at}/{name}"),
        ask("PUT", f"{ROOT}/{at}/{name}", b"planted"),
        ask("DELETE", f"{ROOT}/{at}/{name}"),
        ask("GET", f"{ROOT}?path={at}/{name}"),
        ask("GET", f"{ROOT}?path={name}"),
        ask("GET", f"/mlflow/artifacts/list?run_id={run}&path={name}"),
        ask("GET", f"{ROOT}/{name}"),
        ask("PUT", f"{ROOT}/{name}", b"planted"),
        ask("GET", f"/get-artifact?run_id={run}&path={name}"),
        ask("GET", f"/model-versions/get-artifact?name=a&version=1&path={name}"),
        ask("POST", f"/mlflow/upload-artifact?run_uuid={run}&path={name}", b"planted"),
        ask("POST", f"/mlflow-artifacts/mpu/create/{at}/{name}", {"path": "x", "num_parts": 1}),
    ]
    for number, answer in enumerate(answers):
        assert 400 <= answer.status < 500, (number, answer)
        assert answer.json["error_code"], (number, answer)
        assert b"secret" not in answer.content
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "blobs" not in path.parts}
    assert {path: at for path, at in after.items() if path.suffix not in (".db-wal", ".db-shm")} == {
        path: at for path, at in before.items() if path.suffix not in (".db-wal", ".db-shm")
    }
    assert ask("GET", f"{ROOT}?path={at}").json == {}


def test_a_link_planted_in_the_home_is_not_followed(store: Store, ask: Ask, at: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (store.home / "1").symlink_to(tmp_path / "outside")
    (store.home / "blobs" / "link").symlink_to(tmp_path / "outside")
    for name in (f"{at}/secret", f"{at}/link/secret", "1/secret", "blobs/link/secret"):
        assert ask("GET", f"{ROOT}/{name}").status == 404
    assert kind_of("1") is None


def test_an_archive_is_bytes(ask: Ask, at: str) -> None:
    evil = b"PK\x03\x04../../../../tmp/evil"
    ask("PUT", f"{ROOT}/{at}/a.zip", evil)
    assert ask("GET", f"{ROOT}/{at}/a.zip").content == evil
    assert [one["path"] for one in ask("GET", f"{ROOT}?path={at}").json["files"]] == ["a.zip"]


def test_what_is_not_there_and_what_is_not_done_is_told(ask: Ask, at: str, run: str) -> None:
    assert ask("GET", f"{ROOT}/{at}/nothing").status == 404
    assert ask("PUT", f"{ROOT}/0/{run}/artifacts/a", b"x").status == 404
    assert ask("PUT", f"{ROOT}/versions/m/1/a", b"x").json["error_code"] == "INVALID_PARAMETER_VALUE"
    for method, path in (
        ("GET", f"/mlflow-artifacts/presigned/{at}/a"),
        ("POST", "/mlflow/artifacts/presigned-upload-url"),
        ("POST", "/mlflow/artifacts/presigned-download-url"),
    ):
        answer = ask(method, path, {})
        assert (answer.status, answer.json["error_code"]) == (501, "NOT_IMPLEMENTED")


def begin(ask: Ask, at: str, count: int) -> tuple[str, list[dict[str, str]]]:
    made = ask(
        "POST",
        f"/mlflow-artifacts/mpu/create/{at}/big",
        {"path": "C:\\files\\all.bin", "num_parts": count},
        host="boucle.test:5000",
        authorization="Basic eDp5",
    ).json
    assert {one["headers"]["Authorization"] for one in made["credentials"]} == {"Basic eDp5"}
    return made["upload_id"], made["credentials"]


def send(ask: Ask, credentials: list[dict[str, str]], pieces: list[bytes]) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = []
    for one, piece in zip(credentials, pieces, strict=True):
        base = "http://boucle.test:5000/p/shop/api/2.0"
        assert one["url"].startswith(base)
        sent = ask("PUT", one["url"].removeprefix(base), piece)
        parts.append({"part_number": one["part_number"], "etag": sent.headers["etag"], "url": one["url"]})
    return parts


def end(ask: Ask, at: str, upload_id: str, parts: list[dict[str, object]]):  # type: ignore[no-untyped-def]
    body = {"path": "C:\\files\\all.bin", "upload_id": upload_id, "parts": parts}
    return ask("POST", f"/mlflow-artifacts/mpu/complete/{at}/big", body)


def test_parts_become_one_file_in_the_order_of_their_numbers(ask: Ask, at: str) -> None:
    upload_id, credentials = begin(ask, at, 3)
    pieces = [b"a" * 1_500_000, b"b" * 1_500_000, b"c"]
    parts = send(ask, credentials, pieces)
    assert ask("GET", f"{ROOT}/{at}/big/all.bin").status == 404
    assert end(ask, at, upload_id, parts[::-1]).json == {}
    assert ask("GET", f"{ROOT}/{at}/big/all.bin").content == b"".join(pieces)


def test_parts_of_another_upload_or_none_are_refused(store: Store, ask: Ask, at: str) -> None:
    secret = store.blobs.put(b"another project's")
    upload_id, credentials = begin(ask, at, 2)
    parts = send(ask, credentials, [b"a", b"b"])
    other_id, others = begin(ask, at, 1)
    other = send(ask, others, [b"c"])
    forged = [{"part_number": 1, "etag": f'"{secret}-{"0" * 32}"'}]
    for number, (given_id, given) in enumerate(
        [
            (upload_id, parts[:1]),
            (upload_id, [parts[0], parts[0]]),
            (upload_id, [parts[0], {**other[0], "part_number": 2}]),
            (upload_id, [{**parts[0], "part_number": 2}, {**parts[1], "part_number": 1}]),
            (other_id, forged),
            ("x", parts),
            ("é-1-é", other),
            (upload_id[:-1] + "x", parts),
        ]
    ):
        assert end(ask, at, given_id, given).status == 400, number
    assert ask("GET", f"{ROOT}?path={at}").json == {}
    assert ask("POST", f"/mlflow-artifacts/mpu/abort/{at}/big", {"path": "all.bin", "upload_id": upload_id}).json == {}
