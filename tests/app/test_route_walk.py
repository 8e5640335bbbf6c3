"""Every door of a real `boucle up` with users is tried by everybody who may not go through it.

Nothing here names a route: what is walked are the tables that the server is built from.
"""

import base64
import http.client
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from held_ports import free_port

from boucle.app import control
from boucle.app.router import Router
from boucle.identity import accounts
from boucle.identity.http import Response, Route, Surface
from boucle.identity.records import GRANTS, Policy
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.protocols.control import Control

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ACTOR: Final = "person:root"
SOCKETS: Final = 16
CRASHES: Final = (500, *range(502, 600))
"""501 tells of what a protocol has and this server has not, as MLflow's own does."""


class Place(NamedTuple):
    """A route where it stands, and the path of a request for it."""

    method: str
    path: str
    policy: Policy
    refusal: frozenset[str]
    """The keys of its protocol's one shape of errors."""


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Served(NamedTuple):
    """A server with users, and what people come with."""

    port: int
    places: list[Place]
    roles: dict[str, str]
    """A valid Authorization header of each role."""
    strangers: dict[str, str | None]
    """Headers that count for nothing."""
    errors: Path


def example(path: str) -> str:
    """A path as a request has it: something for each `{name}`, more for `{name...}`.

    >>> example("/runs/{run}/files/{path...}"), example("/models/{model}:predict")
    ('/runs/x1/files/x1/x2', '/models/x1:predict')
    """
    segments = path.split("/")
    return "/".join(
        "x1/x2" if one.endswith("...}") else "x1" + one.partition("}")[2] if one.startswith("{") else one
        for one in segments
    )


def spellings(path: str) -> Iterator[str]:
    """Other ways to write a path; some servers take each of them for the same."""
    head, _, last = path.rpartition("/")
    first, second = path.split("/")[1], "/".join(path.split("/")[2:])
    yield from (f"/{path}", f"/.{path}", f"/x/..{path}", f"/%2e{path}", f"/x/%2e%2e{path}", f"/%2f{path}", f"/{path}/")
    yield from (
        f"{path}/",
        f"{path}//",
        f"{path}/.",
        f"{path}/..",
        f"{path}%2f",
        f"{path}%00",
        f"{path}%20",
        f"{path}.json",
    )
    yield from (
        f"{path};x",
        f"{path};/",
        f"{path}?",
        f"{path}?a=b",
        f"{path}%3f",
        f"{path}#x",
        f"{path}%23",
        f"{path}&x=1",
    )
    yield from (f"{head}//{last}", f"{head}/./{last}", f"{head}/x/../{last}", f"{head}%2f{last}", f"{head}\\{last}")
    yield from (
        f"{head}/{last.upper()}",
        path.upper(),
        f"{head}/%{ord(last[:1] or 'x'):02x}{last[1:]}",
        f"{head};x/{last}",
    )
    yield from (
        f"/p/x{path}",
        f"/p/x/{path}",
        f"/p/%78{path}",
        f"/p//{path}",
        f"/p/..{path}",
        f"/p/x/p/y{path}",
        f"/P/x{path}",
    )
    yield from (
        f"/{first}%2f{second}",
        f"/p/x%2f..{path}",
        f"/%70/x{path}",
        f"/api{path}",
        f"/public{path}",
        f"/health{path}",
    )


def places(surfaces: Iterable[Surface]) -> list[Place]:
    found = []
    for surface in surfaces:
        keys = frozenset(json.loads(surface.refuse(Refused("x", hint="y")).body))
        for prefix, route in itertools.product(surface.prefixes, surface.routes):
            found.append(Place(route.method, example(prefix + route.path), route.policy, keys))
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("walk") / "home"
    past = FixedClock(datetime.now(UTC) - timedelta(days=3))
    with Store.open(home, clock=past) as store:
        accounts.add(store, "ada", "admin", actor=ACTOR)
        expired = accounts.issue(store, "ada", days=1, actor=ACTOR).text
    with Store.open(home) as store:
        roles = {role: bearer(accounts.add(store, f"one-{role}", role, actor=ACTOR).text) for role in GRANTS}
        revoked = accounts.issue(store, "ada", actor=ACTOR)
        valid = accounts.issue(store, "ada", actor=ACTOR).text
        accounts.revoke(store, revoked.token.id, actor=ACTOR)
        table = places(control.surfaces(Control(store=store, default_project="default")))
    with Store.open(home.parent / "other") as other:
        foreign = accounts.add(other, "ada", "admin", actor=ACTOR).text
    strangers = {
        "nothing": None,
        "expired": bearer(expired),
        "revoked": bearer(revoked.text),
        "malformed": bearer(valid[:-1]),
        "of another server": bearer(foreign),
        "of another user": "Basic " + base64.b64encode(f"one-admin:{valid}".encode()).decode(),
        "of another scheme": f"Digest {valid}",
    }
    errors = home.parent / "stderr"
    with errors.open("wb") as stream:
        command = [sys.executable, "-m", "boucle", "up", "--port", "PORT", "--home", str(home)]
        port = free_port()
        command[command.index("PORT")] = str(port)
        process = subprocess.Popen(command, cwd=home.parent, stdout=subprocess.PIPE, stderr=stream, text=True)
        assert process.stdout is not None
        try:
            while "MLFLOW_TRACKING_URI" not in (line := process.stdout.readline()):
                assert line, errors.read_text()
            yield Served(port, table, roles, strangers, errors)
            assert process.poll() is None, "the server lives"
        finally:
            process.terminate()
            process.communicate()


def bearer(token: str) -> str:
    return f"Bearer {token}"


class Client:
    """Requests over one socket after the other; targets are sent as they are."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, target: str, authorization: str | None) -> Answer:
        try:
            return self._ask(method, target, authorization)
        except (ConnectionError, http.client.BadStatusLine):  # the server closed what was kept
            self.close()
            return self._ask(method, target, authorization)

    def _ask(self, method: str, target: str, authorization: str | None) -> Answer:
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        body = b"{}" if method in ("POST", "PUT", "PATCH", "DELETE") else b""
        self._connection.putheader("content-type", "application/json")
        self._connection.putheader("content-length", str(len(body)))
        if authorization is not None:
            self._connection.putheader("authorization", authorization)
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def close(self) -> None:
        self._connection.close()


def many(served: Served, tries: Sequence[tuple[str, str, str | None]]) -> list[Answer]:
    """All answers, asked over several sockets at once, in the order of the requests."""

    def share(number: int) -> list[Answer]:
        with closing(Client(served.port)) as client:
            return [client.ask(*one) for one in tries[number::SOCKETS]]

    with ThreadPoolExecutor(SOCKETS) as pool:
        shares = list(pool.map(share, range(SOCKETS)))
    return [shares[number % SOCKETS][number // SOCKETS] for number in range(len(tries))]


def ask(port: int, method: str, target: str, authorization: str | None) -> Answer:
    with closing(Client(port)) as client:
        return client.ask(method, target, authorization)


def in_shape(place: Place, method: str, answer: Answer) -> bool:
    """Whether an error has the one shape of the protocol that was asked."""
    if method == "HEAD":
        return True
    return frozenset(json.loads(answer.body)) == place.refusal


def guarded(served: Served) -> list[Place]:
    return [place for place in served.places if place.policy != "public"]


@pytest.mark.slow
def test_strangers_are_turned_away_from_every_door_by_every_method(served: Served) -> None:
    tries = [
        (place, method, who, header)
        for place in guarded(served)
        for who, header in served.strangers.items()
        for method in (METHODS if header is None else (place.method,))
    ]
    answers = many(served, [(method, place.path, header) for place, method, _, header in tries])
    wrong = [
        (place, method, who, answer.status, answer.body)
        for (place, method, who, _), answer in zip(tries, answers, strict=True)
        if answer.status != 401
        or "Bearer" not in answer.headers.get("www-authenticate", "")
        or not in_shape(place, method, answer)
    ]
    assert wrong == [], f"{len(wrong)} of {len(tries)}"


@pytest.mark.slow
def test_a_role_that_is_too_low_is_refused_and_one_that_suffices_is_not(served: Served) -> None:
    tries = [(place, role, header) for place in guarded(served) for role, header in served.roles.items()]
    answers = many(served, [(place.method, place.path, header) for place, _, header in tries])
    wrong = []
    for (place, role, _), answer in zip(tries, answers, strict=True):
        may = place.policy in GRANTS[role]  # type: ignore[index]
        told = answer.body.decode(errors="replace")
        is_refused = answer.status == 403 and f"may {place.policy}" in told and "boucle users" in told
        if (
            is_refused == may
            or answer.status in (401, *CRASHES)
            or (is_refused and not in_shape(place, place.method, answer))
        ):
            wrong.append((place, role, answer.status, told))
    assert wrong == [], f"{len(wrong)} of {len(tries)}"


@pytest.mark.slow
def test_no_spelling_of_a_path_opens_a_door(served: Served) -> None:
    low = {
        policy: next((role for role in GRANTS if policy not in GRANTS[role]), None)
        for policy in GRANTS["admin"] | GRANTS["reviewer"]
    }
    tries = []
    for place in guarded(served):
        role = low[place.policy]
        credentials = [None, *([served.roles[role]] if role else [])]
        targets = [*spellings(place.path), f"http://127.0.0.1:{served.port}{place.path}"]
        tries += [(place, target, header) for target in targets for header in credentials]
    answers = many(served, [(place.method, target, header) for place, target, header in tries])
    wrong = [
        (place, target, header is not None, answer.status, answer.body[:200])
        for (place, target, header), answer in zip(tries, answers, strict=True)
        if not 400 <= answer.status < 500 or (header is None and answer.status not in (400, 401))
    ]
    assert wrong == [], f"{len(wrong)} of {len(tries)}"


@pytest.mark.slow
def test_public_doors_answer_strangers_by_their_own_method_only(served: Served) -> None:
    public = [place for place in served.places if place.policy == "public"]
    assert public, "there is at least /health"
    for place in public:
        for method in METHODS:
            answer = ask(served.port, method, place.path, None)
            own = {place.method, *(("HEAD",) if place.method == "GET" else ())}
            others = {one.method for one in served.places if one.path == place.path} - own
            if method in own:
                assert answer.status < 400, (place, method, answer)
            elif method not in others:
                assert answer.status == 401, (place, method, answer)


@pytest.mark.slow
def test_unknown_paths_tell_strangers_nothing(served: Served) -> None:
    for path in ("/x", "/api", "/api/2.0/mlflow/x", "/p/x/nothing", "/favicon.ico", "*"):
        assert ask(served.port, "GET", path, None).status in (400, 401), path
        assert ask(served.port, "GET", path, served.roles["reader"]).status in (400, 404), path


@pytest.mark.slow
def test_the_server_s_log_tells_no_secret(served: Served) -> None:
    ask(served.port, "GET", "/x", served.strangers["of another server"])
    log = served.errors.read_text()
    for header in [*served.roles.values(), *served.strangers.values()]:
        assert header is None or header[-40:] not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("policy", [None, "", "anyone", "Public"])
def test_a_door_without_a_policy_stops_the_start(policy: Any) -> None:
    def handler(_: object) -> Response:
        return Response()

    def refuse(_: object) -> Response:
        return Response(400, msgspec.json.encode({}))

    door = Route("GET", "/new", policy, handler)
    with pytest.raises(ValueError, match="GET /new has the policy"):
        Router([Surface(routes=[door], refuse=refuse)])


def test_every_door_of_the_server_has_a_policy(store: Store) -> None:
    surfaces = control.surfaces(Control(store=store, default_project="default"))
    assert {place.policy for place in places(surfaces)} <= GRANTS["admin"] | GRANTS["reviewer"]
    Router(surfaces)
