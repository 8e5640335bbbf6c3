"""Webhooks: only allowed hosts are called, messages are signed, what does not arrive is tried again."""

import json
import socket

import pytest
from sqlalchemy import select

from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models.webhooks import api, calls, rules
from boucle.models.webhooks import store as tables
from boucle.models.webhooks.delivery import Dispatcher, try_out
from boucle.models.webhooks.records import Webhook

from .conftest import Dripping, Receiver

ALIAS = "model_version_alias.created"


def made(store: Store, url: str, *, name: str = "ci", secret: str | None = None) -> Webhook:
    return api.create(store, project_id="p", name=name, url=url, events=[ALIAS], actor="person:ada", secret=secret)


def tell(store: Store, version: str = "3") -> None:
    data = {"name": "fraud", "alias": "champion", "version": version}
    store.write(lambda conn: api.emit(conn, "p", ALIAS, data, store.clock.now()))


@pytest.fixture
def hook(store: Store, receiver: Receiver) -> Webhook:
    api.allow_host(store, "127.0.0.1", private=True, actor="person:ada")
    return made(store, receiver.url, secret="s3cret")


def test_only_a_host_that_an_administrator_allowed_is_called(store: Store) -> None:
    with pytest.raises(Refused, match=r"may not call 'hooks\.example\.org'") as raised:
        made(store, "https://hooks.example.org/x")
    assert raised.value.hint == "boucle webhooks allow hooks.example.org"
    api.allow_host(store, "Hooks.Example.org.", actor="person:ada")
    assert made(store, "https://HOOKS.example.org/x").url == "https://HOOKS.example.org/x"
    with pytest.raises(InvalidInput, match="not encrypted"):
        made(store, "http://hooks.example.org/x", name="plain")
    api.forbid_host(store, "hooks.example.org", actor="person:ada")
    with pytest.raises(NotFound):
        api.forbid_host(store, "hooks.example.org", actor="person:ada")


@pytest.mark.parametrize(
    "url",
    ["ftp://h/x", "https://", "https://u:p@h/x", "https://h:0/", "https://h/\n", "https://h/\u00e9", "https://[/", "h"],
)
def test_what_is_no_url_is_refused(store: Store, url: str) -> None:
    api.allow_host(store, "h", actor="person:ada")
    with pytest.raises(InvalidInput):
        made(store, url)


@pytest.mark.slow
def test_a_message_arrives_once_signed_as_mlflow_signs(store: Store, receiver: Receiver, hook: Webhook) -> None:
    dispatcher = Dispatcher(store)
    dispatcher.start()
    tell(store)
    receiver.wait_for(1)
    dispatcher.stop()
    ((headers, body),) = receiver.got
    assert json.loads(body) == {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-01-02T00:00:00+00:00",
        "data": {"name": "fraud", "alias": "champion", "version": "3"},
    }
    at_s = int(headers["x-mlflow-timestamp"])
    assert headers["x-mlflow-signature"] == rules.sign("s3cret", headers["x-mlflow-delivery-id"], at_s, body)
    assert api.waiting(store) == {}
    assert hook.status == "ACTIVE"


@pytest.mark.slow
@pytest.mark.usefixtures("hook")
def test_what_fails_is_tried_again_with_the_same_id(store: Store, receiver: Receiver, clock: FixedClock) -> None:
    receiver.answers = [500, 302]
    tell(store)
    for attempt in (1, 2, 3):
        dispatcher = Dispatcher(store)
        dispatcher.start()
        receiver.wait_for(attempt)
        dispatcher.stop()
        clock.advance(10)
    assert len({headers["x-mlflow-delivery-id"] for headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 3  # the redirect was not followed
    assert api.waiting(store) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("hook")
def test_what_was_to_be_told_while_the_clock_was_a_month_ahead_does_not_wait_for_a_month(
    store: Store, receiver: Receiver, clock: FixedClock
) -> None:
    clock.advance(31 * 86_400)
    tell(store)
    clock.advance(-31 * 86_400)
    dispatcher = Dispatcher(store)
    dispatcher.start()
    receiver.wait_for(1)
    dispatcher.stop()
    assert api.waiting(store) == {}


def test_what_fails_again_and_again_is_given_up_and_shown(store: Store, receiver: Receiver, hook: Webhook) -> None:
    tell(store)
    (delivery,) = store.read(lambda conn: tables.due(conn, 2**60, 5))
    store.write(lambda conn: tables.failed(conn, delivery.id, "it answered 500", None))
    assert api.waiting(store) == {hook.id: (0, 1)}
    assert store.read(lambda conn: tables.due(conn, 2**60, 5)) == []
    assert receiver.got == []


@pytest.mark.usefixtures("hook")
def test_one_of_two_processes_delivers(store: Store) -> None:
    tell(store)
    (delivery,) = store.read(lambda conn: tables.due(conn, 2**60, 5))
    claims = [store.write(lambda conn: tables.claim(conn, delivery, 2**60)) for _ in range(2)]
    assert [claim is None for claim in claims] == [False, True]


def test_an_event_that_does_not_happen_is_told_to_nobody(store: Store, hook: Webhook) -> None:
    def unit(conn: object) -> None:
        api.emit(conn, "p", ALIAS, {}, store.clock.now())  # type: ignore[arg-type]
        raise Refused("no")

    with pytest.raises(Refused):
        store.write(unit)
    api.update(store, "p", hook.id, status="DISABLED", actor="person:ada")
    tell(store)
    assert api.waiting(store) == {}


def test_an_address_is_checked_when_it_is_connected_to(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.allow_host(store, "hooks.example.org", actor="person:ada")
    hook = made(store, f"https://hooks.example.org:{receiver.server_port}/")
    for address in (
        "127.0.0.1",
        "10.0.0.7",
        "169.254.169.254",
        "::1",
        "::ffff:192.168.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a9fe:a9fe",
        "::127.0.0.1",
        "0.0.0.0",
    ):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=found, **__: found)
        sent = try_out(store, "p", hook.id)
        assert (sent.status, "may be called" in (sent.problem or "")) == (None, True), address
    assert receiver.got == []


@pytest.mark.parametrize("address", ["fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe%eth0", "::169.254.169.254"])
def test_what_tells_machines_their_secrets_is_never_called(address: str) -> None:
    assert not rules.may_call(address, private=True)


@pytest.mark.slow
@pytest.mark.usefixtures("hook")
def test_a_receiver_that_drips_is_cut_off_and_holds_up_nobody_else(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "TIMEOUT_S", 2.0)
    with Dripping() as dripping:
        slow = made(store, dripping.url, name="slow")
        for version in ("1", "2"):
            tell(store, version)
        dispatcher = Dispatcher(store)
        dispatcher.start()
        dripping.wait_for(1)
        receiver.wait_for(2)
        assert dripping.is_open, "the other webhook got both while this one still dripped"
        assert dripping.ended.wait(20), "it was never cut off"
        dispatcher.stop()
    assert api.waiting(store) == {slow.id: (2, 0)}
    problems = store.read(lambda conn: conn.scalars(select(tables.webhook_deliveries.c.problem)).all())
    assert "TimeoutError: it took too long" in problems


@pytest.mark.slow
def test_what_waits_for_a_disabled_webhook_waits_until_it_is_enabled(
    store: Store, receiver: Receiver, hook: Webhook
) -> None:
    tell(store)
    (delivery,) = store.read(lambda conn: tables.due(conn, 2**60, 5))
    api.update(store, "p", hook.id, status="DISABLED", actor="person:ada")
    assert store.read(lambda conn: tables.due(conn, 2**60, 5)) == []
    assert store.write(lambda conn: tables.claim(conn, delivery, 2**60)) is None
    api.update(store, "p", hook.id, status="ACTIVE", actor="person:ada")
    dispatcher = Dispatcher(store)
    dispatcher.start()
    receiver.wait_for(1)
    dispatcher.stop()
    assert api.waiting(store) == {}


def test_a_host_that_is_forbidden_later_is_called_no_more(store: Store, receiver: Receiver, hook: Webhook) -> None:
    api.forbid_host(store, "127.0.0.1", actor="person:ada")
    assert "may not call" in (try_out(store, "p", hook.id).problem or "")
    assert receiver.got == []


def test_a_name_is_given_once_and_another_projects_webhook_is_not_found(store: Store, hook: Webhook) -> None:
    with pytest.raises(Conflict, match="a webhook 'ci' already"):
        made(store, hook.url)
    with pytest.raises(NotFound):
        api.get(store, "other", hook.id)
    with pytest.raises(InvalidInput, match="does not exist"):
        api.update(store, "p", hook.id, events=["run.created"], actor="person:ada")
    api.delete(store, "p", hook.id, actor="person:ada")
    assert api.list_webhooks(store, "p") == []


def test_the_audit_log_tells_of_webhooks_without_their_secrets(store: Store, receiver: Receiver, hook: Webhook) -> None:
    api.update(store, "p", hook.id, secret="another", url=f"{receiver.url}&key=token", actor="person:ada")
    written = store.read(lambda conn: audit.records(conn, project_id="p"))
    assert [record.action for record in written] == ["webhook.create", "webhook.update"]
    told = str(written)
    assert all(secret not in told for secret in ("s3cret", "another", "token"))
