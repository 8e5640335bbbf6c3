"""Notifications as letters, by SMTP."""

import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from msgspec import field

from boucle.integrations.variables import value_of
from boucle.integrations.words import headline, lines
from boucle.kernel.store import Store
from boucle.models.webhooks.calls import TIMEOUT_S, address_of, allowed, cut_off, refused
from boucle.models.webhooks.records import Sent
from boucle.monitoring.alerting.policy import EmailRoute
from boucle.monitoring.alerting.records import Notification

DELIVERED: Final = 250
"""SMTP's own number for a letter that was taken."""
_IN_ALL_S: Final = 30.0
"""How long a letter may take: many steps, each of which has its own limit."""
_FOR_GOOD: Final = 500
"""From this number on a server means that it will never take a letter for an address."""


class Mailed(Sent, frozen=True, kw_only=True):
    """What became of a letter; if one recipient took it, it has arrived, and the `problem` names those who did not."""

    again: list[str] = field(default_factory=list)
    """Of those to whom it is to be sent once more."""


def send(store: Store, route: EmailRoute, told: Notification, delivery_id: str, now: datetime) -> Sent:
    """Send one letter once. Whatever the server says or fails in comes back as the `problem`."""
    host = allowed(store, route.host)
    if host is None:
        return Sent(problem=f"webhooks may not call {route.host!r}; next: boucle webhooks allow {route.host}")
    user = password = ""
    if route.user_env is not None and route.password_env is not None:
        user, password = value_of(route.user_env), value_of(route.password_env)
    try:
        address = address_of(route.host, route.port, private=host.private)
        if address is None:
            return Sent(problem=refused(route.host))
        with ExitStack() as ending:
            server = ending.enter_context(_connection(route, address, ending))
            if route.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if user:
                server.login(user, password)
            recipients = told.only or route.recipients
            left = server.send_message(letter(route, told, delivery_id, now), to_addrs=recipients)
    except smtplib.SMTPRecipientsRefused as error:
        # Who of a letter's recipients is left was named before: some took it.
        return _mailed(error.recipients, password, arrived=bool(told.only))
    except smtplib.SMTPAuthenticationError as error:
        return Sent(problem=f"the mail server refused the user and password ({error.smtp_code})")
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        return Sent(problem=_without(f"{type(error).__name__}: {error}", password)[:500])
    return _mailed(left, password, arrived=True)


def letter(route: EmailRoute, told: Notification, delivery_id: str, now: datetime) -> EmailMessage:
    """The letter. Its id is that of the delivery, so that mail programs show a repeated one once; those of one incident
    are one thread."""
    thread = f"<incident-{told.project}-{told.incident.number}@boucle.invalid>"
    made = EmailMessage()
    made["Subject"] = headline(told)
    made["From"] = route.sender
    made["To"] = ", ".join(route.recipients)
    made["Date"] = format_datetime(now)
    made["Message-ID"] = f"<{delivery_id}@boucle.invalid>"
    made["References"] = thread
    made["In-Reply-To"] = thread
    made["Auto-Submitted"] = "auto-generated"
    made["X-Boucle-Delivery-Id"] = delivery_id
    made.set_content("\n".join(lines(told)) + "\n")
    return made


def _connection(route: EmailRoute, address: str, ending: ExitStack) -> smtplib.SMTP:
    """A connection that is cut off if all of it takes too long, until `ending` is left."""

    def connect(timeout: float) -> socket.socket:
        deadline = time.monotonic() + _IN_ALL_S
        raw = socket.create_connection((address, route.port), timeout)
        ending.enter_context(cut_off(raw, deadline))
        return raw

    return (_Tls if route.security == "tls" else _Plain)(route.host, route.port, connect)


def _mailed(left: Mapping[str, tuple[int, bytes]], password: str, *, arrived: bool) -> Mailed:
    """A letter that the server did not take for these recipients."""
    said = [f"{one} was refused: {code} {text.decode(errors='replace')}" for one, (code, text) in left.items()]
    return Mailed(
        status=DELIVERED if arrived else None,
        problem=_without("; ".join(said), password)[:500] or None,
        again=[one for one, (code, _) in left.items() if code < _FOR_GOOD],
    )


class _Plain(smtplib.SMTP):
    """Connects to the address that was checked, whatever the name stands for by now; certificates are of the name."""

    def __init__(self, host: str, port: int, connect: Callable[[float], socket.socket]) -> None:
        self._connect = connect
        super().__init__(host, port, timeout=TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - as the base calls it
        return self._connect(timeout)


class _Tls(smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""

    def __init__(self, host: str, port: int, connect: Callable[[float], socket.socket]) -> None:
        self._connect = connect
        super().__init__(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - as the base calls it
        return self.context.wrap_socket(self._connect(timeout), server_hostname=host)


def _without(text: str, secret: str) -> str:
    """What a server answered, less a password that it may have repeated."""
    return text.replace(secret, "***") if secret else text
