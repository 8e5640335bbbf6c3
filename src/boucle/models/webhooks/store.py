"""Tables of webhooks, of the hosts they may call, and of what is on its way."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from boucle.kernel.database import metadata
from boucle.kernel.retries import is_due
from boucle.models.webhooks.records import Delivery, Host, Webhook

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("name", String(63), nullable=False),
    Column("url", String(500), nullable=False),
    Column("events", Text, nullable=False),
    Column("description", Text),
    Column("secret", Text),
    Column("status", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("project_id", "name", name="uq_webhooks_name"),
)
"""`events` is a JSON list. The secret is kept as it is, as it must sign; only this module reads it."""

webhook_hosts = Table(
    "webhook_hosts",
    metadata,
    Column("host", String(253), primary_key=True),
    Column("private", Boolean, nullable=False),
    Column("allowed_by", String(200), nullable=False),
    Column("allowed_ms", BigInteger, nullable=False),
)
"""Of the whole store: what a server may call is no project's own affair."""

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("webhook_id", String(64), ForeignKey("webhooks.id"), nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ms", BigInteger),
    Column("problem", Text),
    Index("ix_webhook_deliveries_next", "next_ms"),
)
"""What has not arrived. One without `next_ms` was given up, and stays until its webhook is deleted."""

_ENABLED: Final = webhook_deliveries.c.webhook_id.in_(select(webhooks.c.id).where(webhooks.c.status == "ACTIVE"))
"""What waits for a disabled webhook waits on, until it is enabled or deleted."""


def add(conn: Connection, webhook: Webhook, secret: str | None) -> None:
    """Add a webhook."""
    row = {**msgspec.structs.asdict(webhook), "events": _as_text(webhook.events), "secret": secret}
    conn.execute(insert(webhooks).values(row))


def change(conn: Connection, webhook: Webhook, secret: str | None) -> None:
    """Write a webhook anew; its secret stays if none is given."""
    row = {**msgspec.structs.asdict(webhook), "events": _as_text(webhook.events)}
    conn.execute(
        update(webhooks).where(webhooks.c.id == webhook.id).values({**row, **({"secret": secret} if secret else {})})
    )


def remove(conn: Connection, webhook_id: str) -> None:
    """Take a webhook away, with what was on its way."""
    conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id))
    conn.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


def find(conn: Connection, project_id: str, webhook_id: str) -> Webhook | None:
    """One webhook of a project, or None."""
    query = select(webhooks).where(webhooks.c.project_id == project_id, webhooks.c.id == webhook_id)
    row = conn.execute(query).mappings().first()
    return None if row is None else _webhook(row)


def all_of(conn: Connection, project_id: str | None, *, after: str = "", limit: int | None = None) -> list[Webhook]:
    """The webhooks of a project or of all by id, which is their age."""
    query = select(webhooks).where(webhooks.c.id > after).order_by(webhooks.c.id)
    if project_id is not None:
        query = query.where(webhooks.c.project_id == project_id)
    return [_webhook(row) for row in conn.execute(query.limit(limit)).mappings()]


def waiting(conn: Connection) -> dict[str, tuple[int, int]]:
    """For each webhook with deliveries: how many wait, how many were given up."""
    given_up = func.count().filter(webhook_deliveries.c.next_ms.is_(None))
    query = select(webhook_deliveries.c.webhook_id, func.count(webhook_deliveries.c.next_ms), given_up).group_by(
        webhook_deliveries.c.webhook_id
    )
    return {row[0]: (row[1], row[2]) for row in conn.execute(query)}


def add_host(conn: Connection, host: Host) -> None:
    """Allow a host, or say anew how."""
    remove_host(conn, host.host)
    conn.execute(insert(webhook_hosts).values(msgspec.structs.asdict(host)))


def remove_host(conn: Connection, host: str) -> None:
    """Allow a host no more."""
    conn.execute(delete(webhook_hosts).where(webhook_hosts.c.host == host))


def find_host(conn: Connection, host: str) -> Host | None:
    """An allowed host, or None."""
    row = conn.execute(select(webhook_hosts).where(webhook_hosts.c.host == host)).mappings().first()
    return None if row is None else Host(**row)


def all_hosts(conn: Connection) -> list[Host]:
    """Every allowed host by name."""
    return [Host(**row) for row in conn.execute(select(webhook_hosts).order_by(webhook_hosts.c.host)).mappings()]


def enqueue(conn: Connection, project_id: str, deliveries: Sequence[Delivery]) -> None:
    """Send something on its way; what is on its way already is not sent twice."""
    if deliveries:
        rows = [{**msgspec.structs.asdict(one), "project_id": project_id} for one in deliveries]
        conn.execute(insert_or_ignore(webhook_deliveries).on_conflict_do_nothing(), rows)


def due(conn: Connection, at_ms: int, limit: int, *, but: Collection[str] = ()) -> list[Delivery]:
    """What is to be tried now, the longest due first: one for each enabled webhook but some."""
    by_age = (webhook_deliveries.c.next_ms, webhook_deliveries.c.id)
    turn = func.row_number().over(partition_by=webhook_deliveries.c.webhook_id, order_by=by_age).label("turn")
    waiting = (
        select(webhook_deliveries, turn)
        .where(is_due(webhook_deliveries.c.next_ms, at_ms), _ENABLED, webhook_deliveries.c.webhook_id.not_in(but))
        .subquery()
    )
    query = select(waiting).where(waiting.c.turn == 1).order_by(waiting.c.next_ms, waiting.c.id).limit(limit)
    return [
        Delivery(id=row.id, webhook_id=row.webhook_id, body=row.body, attempts=row.attempts, next_ms=row.next_ms)
        for row in conn.execute(query)
    ]


def claim(conn: Connection, delivery: Delivery, until_ms: int) -> tuple[Webhook, str | None] | None:
    """Take a due delivery for oneself until a moment; its webhook and secret.

    None if somebody else was first, or the webhook was disabled meanwhile.
    """
    mine = (webhook_deliveries.c.id == delivery.id) & (webhook_deliveries.c.next_ms == delivery.next_ms)
    taken = conn.execute(
        update(webhook_deliveries).where(mine, _ENABLED).values(next_ms=until_ms, attempts=delivery.attempts + 1)
    ).rowcount
    if not taken:
        return None
    row = conn.execute(select(webhooks).where(webhooks.c.id == delivery.webhook_id)).mappings().one()
    return _webhook(row), row["secret"]


def secret_of(conn: Connection, webhook_id: str) -> str | None:
    """What signs the messages to a webhook."""
    secret: str | None = conn.execute(select(webhooks.c.secret).where(webhooks.c.id == webhook_id)).scalar()
    return secret


def arrived(conn: Connection, delivery_id: str) -> None:
    """Forget what has arrived."""
    conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id))


def failed(conn: Connection, delivery_id: str, problem: str, next_ms: int | None) -> None:
    """Note why an attempt failed, and when the next one is due; None gives it up."""
    same = webhook_deliveries.c.id == delivery_id
    conn.execute(update(webhook_deliveries).where(same).values(problem=problem, next_ms=next_ms))


def _webhook(row: RowMapping) -> Webhook:
    values: dict[str, Any] = {name: value for name, value in row.items() if name != "secret"}
    return Webhook(**{**values, "events": msgspec.json.decode(row["events"], type=list[str])})


def _as_text(events: list[str]) -> str:
    return msgspec.json.encode(events).decode()
