from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.identity.api import LocalDoor, Policy, Principal, Route, admit, check_table, refuse_open_binding
from boucle.identity.policies import host_name
from boucle.kernel.errors import Refused, Unauthenticated


def handler() -> None: ...


def ask(
    policy: Policy = "predict",
    client: str = "127.0.0.1",
    host: str | None = "localhost:8080",
    origin: str | None = None,
    allowed: tuple[str, ...] = (),
) -> Principal:
    return admit(
        policy,
        door=LocalDoor(),
        authorization=None,
        client_host=client,
        host_header=host,
        origin=origin,
        allowed_hosts=allowed,
    )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "localhost."])
def test_a_program_on_this_machine_is_let_in(host: str) -> None:
    ask(host=host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8080", "localhost.evil.example", "localhost@evil.example", "0.0.0.0",
     "127.0.0.1.nip.io", "localhost:80:80", "localhost:x", "localhost, evil.example", "[::1", "::1", "local host",
     "localhost\r\n"],
)  # fmt: skip
def test_a_foreign_or_malformed_host_is_refused(host: str | None) -> None:
    with pytest.raises(Refused, match="Host"):
        ask("public", host=host)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "https://evil.example", "http://localhost.evil.example", "http://localhost@evil.example",
     "file://localhost", "http://[", "localhost", "http://localhost:8888", "http://localhost", "http://127.0.0.1:8080",
     "http://localhost:8080/", "http://u@localhost:8080"],
)  # fmt: skip
def test_a_foreign_page_is_refused_whatever_the_policy(origin: str) -> None:
    for policy in ("public", "predict", "operate"):
        with pytest.raises(Refused, match="Origin"):
            ask(policy, origin=origin)


def test_a_page_of_this_server_is_let_in() -> None:
    ask(origin="http://localhost:8080")
    ask(host="[::1]:80", origin="http://[::1]:80")


def test_a_further_name_is_answered_when_the_project_lists_it() -> None:
    with pytest.raises(Refused, match=r"flights\.example"):
        ask(host="flights.example:443")
    ask(host="Flights.example:443", origin="https://flights.example", allowed=("flights.EXAMPLE",))


def test_only_public_routes_answer_another_machine() -> None:
    ask("public", client="10.0.0.7")
    for policy in ("predict", "operate"):
        for client in ("10.0.0.7", "", "unknown", "::ffff:10.0.0.7", "localhost.evil.example"):
            with pytest.raises(Unauthenticated, match="not on this machine"):
                ask(policy, client=client)
    for client in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        ask("operate", client=client)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "flights.example", "", "169.254.169.254"])
def test_listening_beyond_this_machine_is_refused_with_what_to_do(host: str) -> None:
    with pytest.raises(Refused, match="nothing says who may ask") as raised:
        refuse_open_binding(host)
    assert "127.0.0.1" in raised.value.message
    assert "boucle keys add" in (raised.value.hint or "")


def test_listening_beyond_this_machine_needs_users() -> None:
    refuse_open_binding("0.0.0.0", has_users=True)
    with pytest.raises(Refused, match="no users") as raised:
        refuse_open_binding("0.0.0.0", has_users=False)
    assert raised.value.hint == "boucle users add NAME --role admin"


def test_the_local_person_may_everything_but_approve() -> None:
    for policy in get_args(Policy):
        if policy != "review":
            ask(policy)
    with pytest.raises(Refused, match="reviewer may review") as raised:
        ask("review")
    assert "boucle users add" in (raised.value.hint or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_listening_on_loopback_is_allowed(host: str) -> None:
    refuse_open_binding(host)


@given(st.text(max_size=30))
def test_a_host_name_never_holds_what_could_mean_another_host(header: str) -> None:
    assert not set(host_name(header)) & set("@/\\?# ,\r\n\t\0")


def test_a_table_whose_routes_all_have_policies_is_accepted() -> None:
    check_table(
        [
            Route("GET", "/v2/health/live", "public", handler),
            Route("GET", "/v2/models/{model}", "predict", handler),
            Route("POST", "/v2/models/{model}", "predict", handler),
        ]
    )


@pytest.mark.parametrize("policy", ["", None, "admin"])
def test_a_route_without_a_policy_stops_the_start(policy: object) -> None:
    with pytest.raises(ValueError, match="GET /metrics has the policy"):
        check_table([Route("GET", "/metrics", policy, handler)])  # type: ignore[arg-type]


def test_two_routes_for_the_same_requests_stop_the_start() -> None:
    with pytest.raises(ValueError, match="clashes with GET /models/"):
        check_table(
            [Route("GET", "/models/{model}", "public", handler), Route("GET", "/models/{name}", "public", handler)]
        )


@pytest.mark.parametrize(("method", "path"), [("get", "/x"), ("GET", "x"), ("", "/x")])
def test_a_malformed_route_stops_the_start(method: str, path: str) -> None:
    with pytest.raises(ValueError, match="upper-case method"):
        check_table([Route(method, path, "public", handler)])
