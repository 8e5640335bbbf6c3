"""A server of a store: its users count, and whoever takes charge in the registry answers."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from boucle.governance.api import set_alias
from boucle.identity import accounts
from boucle.kernel.store import Store
from boucle.models.api import register
from boucle.serving.keys import add_key

pytestmark = pytest.mark.slow

Home = Any
"""`ServingHome` of conftest.py."""
PROGRAM = (
    "import sys; from pathlib import Path; from boucle.app.serve import serve\n"
    "from boucle.app.store_watch import StoreWatch\n"
    "home = Path(sys.argv[1])\n"
    "serve(home, ['flights'], port=int(sys.argv[2]), workers=2, store=StoreWatch(home, 'flights'))\n"
)


@contextmanager
def serving(home: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"ready http://127.0.0.1:{port}\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def ask(url: str, token: str | None = None) -> tuple[int, str]:
    """Status, and the version that answered or what was said."""
    tensors = [("carrier", "BYTES", "AA"), ("temp", "FP64", 80.0)]
    inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [value]} for name, kind, value in tensors]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = json.dumps({"inputs": inputs}).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v2/models/flights/infer", body, headers), timeout=30
        ) as answer:
            return answer.status, json.loads(answer.read())["model_version"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def registered(home: Home, store: Store, lift: float) -> int:
    digest = home.keep(store, home.path.parent / f"kept{lift}", lift)
    version = register(
        store,
        project_id="flights",
        model="flights",
        bundle_digest=digest,
        dataset_digest=store.blobs.put(b"table"),
        evaluation_digest=store.blobs.put(b"{}"),
        run_id="",
        author="person:ada",
        note="",
    )
    return int(version.number)


def test_who_takes_charge_in_the_registry_answers_without_a_restart(serving_home: Home, free_port: int) -> None:
    serving_home.deploy(1)
    with Store.open(serving_home.path) as store:
        for lift in (0.0, 1.0):
            registered(serving_home, store, lift)
    with serving(serving_home.path, free_port) as url:
        assert ask(url) == (200, "1")
        with Store.open(serving_home.path) as store:
            set_alias(store, project_id="flights", model="flights", alias="champion", number=2, actor="person:ada")
        wait_until(lambda: ask(url) == (200, "2"))
        (serving_home.path / "audit-head.json").unlink()  # nothing writes it anew: that it is lost is evidence
        for number in (1, 2):
            with Store.open(serving_home.path) as store:
                set_alias(
                    store, project_id="flights", model="flights", alias="champion", number=number, actor="person:ada"
                )
            wait_until(lambda number=number: ask(url) == (200, str(number)))


def test_users_need_their_tokens_and_what_is_revoked_is_refused_at_once(serving_home: Home, free_port: int) -> None:
    serving_home.deploy(1)
    with serving(serving_home.path, free_port) as url:
        assert ask(url)[0] == 200
        with Store.open(serving_home.path) as store:
            made = accounts.add(store, "ada", "admin", actor="person:root")
            assert ask(url)[0] in (401, 503), "from the moment that there is a user nobody else is let in"
            wait_until(lambda: all(ask(url, made.text)[0] == 200 for _ in range(24)))
            assert ask(url)[0] == 401
            key, _ = add_key(serving_home.path, "flights", "app", per_second=None, now_ms=0)
            wait_until(lambda: all(ask(url, key)[0] == 200 for _ in range(24)))
            assert ask(url, made.text)[0] == 200, "a user needs no key"
            accounts.revoke(store, made.token.id, actor="person:root")
            assert {ask(url, made.text)[0] for _ in range(10)} <= {401, 503}
            wait_until(lambda: all(ask(url, made.text)[0] == 401 for _ in range(24)))
            assert ask(url, key)[0] == 200
