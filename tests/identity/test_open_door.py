"""A server that asks nobody who it is: in a container, where a platform lets in whom it wants."""

import pytest

from boucle.identity.api import ANY_HOST, OpenDoor, admit
from boucle.kernel.errors import Refused


def asks(policy: str, host: str | None = "10.1.2.3:8080", origin: str | None = None) -> str:
    return admit(
        policy,  # type: ignore[arg-type] # each is one
        door=OpenDoor(),
        authorization=None,
        client_host="10.9.9.9",
        host_header=host,
        origin=origin,
        allowed_hosts=(ANY_HOST,),
    ).name


def test_whoever_comes_may_ask_and_look_at_the_metrics() -> None:
    assert asks("predict") == asks("operate", "models.example") == "service:anyone"


@pytest.mark.parametrize("policy", ["read", "write", "review", "administer"])
def test_and_no_more(policy: str) -> None:
    with pytest.raises(Refused):
        asks(policy)


def test_a_host_must_still_be_one_and_a_foreign_page_is_still_foreign() -> None:
    for host in (None, "", "a b", "a@b"):
        with pytest.raises(Refused, match="is not answered here"):
            asks("predict", host)
    with pytest.raises(Refused, match="foreign web page"):
        asks("predict", origin="https://elsewhere.example")
