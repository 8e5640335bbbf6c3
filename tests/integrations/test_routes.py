"""Routes: letters through a real SMTP server, signed messages to a real receiver; whatever fails is tried again."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiosmtpd.controller import Controller
from held_ports import free_port

from boucle.integrations.alertmanager import alerts as postable
from boucle.integrations.example import example
from boucle.integrations.variables import url_of
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import Unavailable
from boucle.kernel.store import Store
from boucle.monitoring.alerting import api, outbox
from boucle.monitoring.alerting.policy import AlertmanagerRoute, EmailRoute, SlackRoute, WebhookRoute

from .conftest import PROJECT, Mailbox, Receiver, alert, dispatcher, happen

SECRET = "s3cret"
Start = Callable[[], Receiver]


def hook(receiver: Receiver, name: str = "hook") -> WebhookRoute:
    return WebhookRoute(name=name, url=f"{receiver.url}/x?a=1", secret_env="HOOK_SECRET")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("MAIL_USER", "ada")
    monkeypatch.setenv("MAIL_PASSWORD", SECRET)


def is_ours(headers: dict[str, str], body: str) -> bool:
    """As docs/how-to/alerts.md checks it."""
    signed = f"{headers['x-boucle-delivery-id']}.{headers['x-boucle-timestamp']}.".encode() + body.encode()
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    return hmac.compare_digest(f"v1,{base64.b64encode(digest).decode()}", headers["x-boucle-signature"])


def test_a_webhook_is_told_once_and_signed(store: Store, receivers: Start) -> None:
    receiver = receivers()
    sender, section = dispatcher(store, hook(receiver))
    happen(store, section, [alert("temp"), alert("wind")])
    assert (sender.once().arrived, sender.once().arrived) == (1, 0)
    [(path, headers, body)] = receiver.got
    assert path == "/x?a=1"
    assert is_ours(headers, body)
    told = json.loads(body)
    assert (told["event"], told["project"], told["alerts"]) == ("incident.opened", PROJECT, 2)
    assert [one["subject"] for one in told["incident"]["alerts"]] == ["temp", "wind"]
    [known] = api.told(store, PROJECT, 1)
    assert (known.arrived_at, known.problem) == (store.clock.now(), None)


def test_what_fails_is_tried_again_with_the_same_id_and_in_order(
    store: Store, receivers: Start, clock: FixedClock
) -> None:
    receiver = receivers()
    receiver.answers = [500, 307]
    sender, section = dispatcher(store, hook(receiver))
    happen(store, section, [alert()])
    happen(store, section, [], [alert()])
    for problem in ("it answered 500", "it answered 307"):
        assert sender.once().problems == {"hook": problem}
        assert sender.once().problems == {}  # it is not due yet
        clock.advance(10)
    assert sender.once().arrived == 2
    assert [json.loads(body)["event"] for _, _, body in receiver.got] == ["incident.opened"] * 3 + ["incident.closed"]
    assert len({headers["x-boucle-delivery-id"] for _, headers, _ in receiver.got}) == 2


def test_what_failed_while_the_clock_was_a_month_ahead_does_not_wait_for_a_month(
    store: Store, receivers: Start, clock: FixedClock
) -> None:
    receiver, month = receivers(), 31 * 86_400
    receiver.answers = [500]
    sender, section = dispatcher(store, hook(receiver))
    clock.advance(month)
    happen(store, section, [alert()])
    assert sender.once().problems == {"hook": "it answered 500"}
    clock.advance(-month)
    assert sender.once().arrived == 1
    assert len({headers["x-boucle-delivery-id"] for _, headers, _ in receiver.got}) == 1


def test_what_fails_again_and_again_is_given_up(store: Store, clock: FixedClock) -> None:
    route = WebhookRoute(name="hook", url="http://127.0.0.1:1/x", secret_env="HOOK_SECRET", repeat_every="0d")
    sender, section = dispatcher(store, route)
    happen(store, section, [alert()])
    tries = 0
    while sender.once().problems:
        tries += 1
        clock.advance(3600)
    assert tries == outbox.MAX_ATTEMPTS
    [(waiting, given_up, problem)] = store.read(lambda conn: outbox.counts(conn, PROJECT)).values()
    assert (waiting, given_up) == (0, 1)
    assert problem is not None
    assert "ConnectionRefusedError" in problem


def test_who_was_killed_between_the_answer_and_its_note_sends_again_with_the_same_id(
    store: Store, receivers: Start, clock: FixedClock
) -> None:
    receiver = receivers()
    sender, section = dispatcher(store, hook(receiver))
    happen(store, section, [alert()])
    [waiting] = store.read(lambda conn: outbox.due(conn, PROJECT, 2**60, 5))
    assert store.write(lambda conn: outbox.claim(conn, waiting, int(clock.now().timestamp() * 1000) + 60_000))
    sender._send(waiting)  # it arrives; and then the process is no more
    assert sender.once().arrived == 0
    clock.advance(61)
    assert sender.once().arrived == 1
    assert len({headers["x-boucle-delivery-id"] for _, headers, _ in receiver.got}) == 1


def test_a_host_that_nobody_allowed_is_not_called(store: Store) -> None:
    routes = [
        WebhookRoute(name="hook", url="https://elsewhere.example.org/x", secret_env="HOOK_SECRET"),
        EmailRoute(name="mail", host="elsewhere.example.org", sender="a@example.org", recipients=["b@example.org"]),
    ]
    sender, section = dispatcher(store, *routes)
    happen(store, section, [alert()])
    assert sender.once().problems == {
        "hook": "webhooks may not call 'elsewhere.example.org'; next: boucle webhooks allow elsewhere.example.org",
        "mail": "webhooks may not call 'elsewhere.example.org'; next: boucle webhooks allow elsewhere.example.org",
    }


def test_a_secret_that_is_not_set_is_named_and_nothing_is_sent(
    store: Store, receivers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    receiver = receivers()
    sender, section = dispatcher(store, hook(receiver))
    happen(store, section, [alert()])
    assert sender.once().problems == {"hook": "the environment variable HOOK_SECRET is not set for this process"}
    assert receiver.got == []


@pytest.mark.slow
def test_a_slow_route_holds_up_no_other(store: Store, receivers: Start) -> None:
    slow, quick = receivers(), receivers()
    slow.gate.clear()
    sender, section = dispatcher(store, hook(slow, "slow"), hook(quick, "quick"))
    sender.start()
    happen(store, section, [alert("temp")])
    slow.wait_for(len)
    happen(store, section, [alert("rain", "check")])
    quick.wait_for(lambda got: len(got) == 2)
    assert len(slow.got) == 1
    slow.gate.set()
    slow.wait_for(lambda got: len(got) == 2)
    sender.stop()
    assert store.read(lambda conn: outbox.counts(conn, PROJECT)) == {}


def letters(port: int, **changed: object) -> EmailRoute:
    values: dict[str, object] = {
        "name": "mail",
        "host": "localhost",
        "port": port,
        "sender": "boucle@example.org",
        "recipients": ["ada@example.org", "bob@example.org"],
        "user_env": "MAIL_USER",
        "password_env": "MAIL_PASSWORD",
    }
    return EmailRoute(**(values | changed))  # type: ignore[arg-type]


def test_a_letter_goes_encrypted_through_a_real_mail_server(
    store: Store, mail_server: Controller, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="boucle"):
        sender, section = dispatcher(store, letters(mail_server.port))
        happen(store, section, [alert("temp"), alert("wind")])
        assert sender.once().problems == {}
        happen(store, section, [], [alert("temp"), alert("wind")])
        assert sender.once().arrived == 1
    first, last = mailbox.letters
    assert first["X-RcptTo"] == "ada@example.org, bob@example.org"
    assert first["Bcc"] is None
    assert first["Subject"].replace("\n", "") == (
        "[flights] warning: drift in 2 places: temp, wind (incident 1 opened)"
    )
    assert "boucle alerts ack 1" in first.get_payload()
    assert first["Message-ID"] != last["Message-ID"]
    assert first["References"] == last["References"]
    assert "is over" in last["Subject"]
    assert SECRET not in caplog.text


def test_who_is_refused_beside_others_is_told_and_gets_it_later_alone(
    store: Store, mail_server: Controller, mailbox: Mailbox, clock: FixedClock
) -> None:
    mailbox.refuses = {"bob@example.org": "450 try later"}
    sender, section = dispatcher(store, letters(mail_server.port))
    happen(store, section, [alert()])
    happen(store, section, [], [alert()])
    done = sender.once()
    assert (done.arrived, done.problems) == (1, {"mail": "bob@example.org was refused: 450 try later"})
    clock.advance(3)
    assert sender.once().problems == done.problems
    mailbox.refuses = {}
    clock.advance(5)
    assert sender.once().problems == {}
    assert [(one["X-RcptTo"], "is over" in one["Subject"]) for one in mailbox.letters] == [
        ("ada@example.org", False),
        ("bob@example.org", False),
        ("ada@example.org, bob@example.org", True),
    ]
    assert mailbox.letters[0]["Message-ID"] == mailbox.letters[1]["Message-ID"]


@pytest.mark.parametrize(("answer", "tries"), [("550 no such user", 1), ("450 try later", outbox.MAX_IN_PART)])
def test_a_recipient_who_never_takes_it_holds_up_the_others_for_half_an_hour_at_most(
    store: Store, mail_server: Controller, mailbox: Mailbox, clock: FixedClock, answer: str, tries: int
) -> None:
    mailbox.refuses = {"bob@example.org": answer}
    sender, section = dispatcher(store, letters(mail_server.port))
    happen(store, section, [alert()])
    began, tried = clock.now(), 0
    while store.read(lambda conn: outbox.is_waiting(conn, PROJECT, 1, "mail")):
        tried += bool(sender.once().problems)
        clock.advance(30)
    assert tried == tries
    assert clock.now() - began < timedelta(minutes=40)
    assert [one["X-RcptTo"] for one in mailbox.letters] == ["ada@example.org"]
    [told] = api.told(store, PROJECT, 1)
    assert told.problem == f"bob@example.org was refused: {answer}"
    assert told.arrived_at is not None


def test_a_wrong_password_is_told_without_it(
    store: Store, mail_server: Controller, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "wr0ng")
    sender, section = dispatcher(store, letters(mail_server.port))
    happen(store, section, [alert()])
    assert sender.once().problems == {"mail": "the mail server refused the user and password (535)"}
    assert mailbox.letters == []


def test_a_server_without_encryption_or_with_another_certificate_gets_no_password(
    store: Store, mail_server: Controller, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    sender, section = dispatcher(store, letters(mail_server.port))
    happen(store, section, [alert()])
    assert "CERTIFICATE_VERIFY_FAILED" in sender.once().problems["mail"]
    plain = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    plain.start()
    try:
        other, _ = dispatcher(store, letters(plain.port))
        assert isinstance(store.clock, FixedClock)
        store.clock.advance(10)
        assert "STARTTLS" in other.once().problems["mail"]
    finally:
        plain.stop()
    assert mailbox.letters == []


def test_slack_shows_text_as_it_is(store: Store, receivers: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = receivers()
    monkeypatch.setenv("SLACK_URL", f"{receiver.url}/services/T0/B0/x")
    sender, section = dispatcher(store, SlackRoute(name="chat", url_env="SLACK_URL"))
    happen(store, section, [alert()])
    assert sender.once().arrived == 1
    [(path, _, body)] = receiver.got
    assert path == "/services/T0/B0/x"
    told = json.loads(body)
    assert "&lt;!channel&gt; &amp; so on Bcc" in told["text"]
    assert told["attachments"][0]["color"] == "#b45309"


def test_what_a_variable_holds_is_not_told_where_it_is_no_address(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for held in ("hooks.example.org/T0/SECRET", "https://h:0/SECRET", "https://ada:SECRET@h/", "https://[SECRET"):
        monkeypatch.setenv("SLACK_URL", held)
        with pytest.raises(Unavailable, match="what the environment variable SLACK_URL holds is no address") as raised:
            url_of(None, "SLACK_URL")
        assert "SECRET" not in f"{raised.value.message} {raised.value.hint}"
    sender, section = dispatcher(store, SlackRoute(name="chat", url_env="SLACK_URL"))
    happen(store, section, [alert()])
    assert "SLACK_URL holds is no address" in sender.once().problems["chat"]
    assert "SECRET" not in caplog.text


def test_alertmanager_gets_what_is_open_again_and_again_and_its_end(
    store: Store, receivers: Start, clock: FixedClock
) -> None:
    receiver = receivers()
    route = AlertmanagerRoute(name="am", url=receiver.url, labels={"team": "data"})
    sender, section = dispatcher(store, route)
    happen(store, section, [alert("temp"), alert("wind")])
    assert sender.once().arrived == 1
    clock.advance(61)
    done = sender.once()
    assert (done.queued, done.arrived) == (1, 1)
    api.acknowledge(store, PROJECT, 1, by="person:ada", note="on it")
    clock.advance(61)
    assert sender.once().arrived == 1  # it would forget what it is not told
    happen(store, section, [], [alert("temp")])
    happen(store, section, [], [alert("wind")])
    assert sender.once().arrived == 1
    sent = [json.loads(body) for _, _, body in receiver.got]
    assert {path for path, _, _ in receiver.got} == {"/api/v2/alerts"}
    assert sent[0][0]["labels"] == {
        "alertname": "BoucleDrift",
        "project": "flights",
        "endpoint": "flights",
        "kind": "drift",
        "subject": "temp",
        "severity": "warning",
        "rule": "default",
        "team": "data",
    }
    assert sent[0][0]["startsAt"] == "2026-01-02T00:00:00Z"
    assert sent[0][0]["endsAt"] == "2026-01-02T00:05:00Z"
    assert sent[2][0]["annotations"]["acknowledged"] == "person:ada on it"
    assert [one["endsAt"] for one in sent[3]] == ["2026-01-02T00:02:02Z"] * 2
    assert len({json.dumps(one[0]["labels"]) for one in sent}) == 1


def test_what_has_not_arrived_at_alertmanager_is_replaced_by_what_is_so_now(
    store: Store, receivers: Start, clock: FixedClock
) -> None:
    receiver = receivers()
    receiver.answers = [503]
    sender, section = dispatcher(store, AlertmanagerRoute(name="am", url=receiver.url))
    happen(store, section, [alert()])
    assert sender.once().problems == {"am": "it answered 503"}
    happen(store, section, [], [alert()])
    clock.advance(3)
    assert sender.once().arrived == 1
    assert json.loads(receiver.got[-1][2])[0]["endsAt"] == "2026-01-02T00:00:03Z"


def test_a_moment_of_another_time_line_is_no_moment_of_alertmanagers() -> None:
    wall = datetime(2026, 1, 2, tzinfo=UTC)
    [one] = postable(AlertmanagerRoute(name="am", url="http://h"), example("p", datetime(2030, 1, 1, tzinfo=UTC)), wall)
    assert one.starts_at == one.ends_at == wall
    never = AlertmanagerRoute(name="am", url="http://h", repeat_every="999999d")
    assert len(postable(never, example("p", wall), wall)) == 1
