"""Webhooks: made by administrators, told of events in the unit of work that makes them happen."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import to_ms
from boucle.kernel.digests import digest_json
from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models.webhooks import rules
from boucle.models.webhooks import store as tables
from boucle.models.webhooks.records import Delivery, Host, Webhook, WebhookStatus

__all__ = [
    "allow_host",
    "create",
    "delete",
    "emit",
    "forbid_host",
    "get",
    "list_hosts",
    "list_webhooks",
    "message",
    "update",
    "waiting",
]


def create(
    store: Store,
    *,
    project_id: str,
    name: str,
    url: str,
    events: Sequence[str],
    actor: str,
    description: str | None = None,
    secret: str | None = None,
    status: WebhookStatus = "ACTIVE",
) -> Webhook:
    """Make a webhook. Refused if its host is not allowed, Conflict if the project has one of that name."""
    at = store.clock.now()
    made = Webhook(
        project_id=project_id,
        id=store.ids.new_hex(),
        name=name,
        url=url,
        events=list(dict.fromkeys(events)),
        description=description,
        status=status,
        created_ms=to_ms(at),
        updated_ms=to_ms(at),
    )

    def unit(conn: Connection) -> Webhook:
        _check(conn, made)
        tables.add(conn, made, secret)
        _tell(conn, made, "webhook.create", actor, at)
        return made

    return store.write(unit)


def update(
    store: Store,
    project_id: str,
    webhook_id: str,
    *,
    actor: str,
    name: str | None = None,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    secret: str | None = None,
    status: WebhookStatus | None = None,
) -> Webhook:
    """Change what is given of a webhook."""
    at = store.clock.now()
    given = {"name": name, "url": url, "events": events, "description": description, "status": status}

    def unit(conn: Connection) -> Webhook:
        changed = msgspec.structs.replace(
            _existing(conn, project_id, webhook_id),
            **{key: value for key, value in given.items() if value is not None},
            updated_ms=to_ms(at),
        )
        _check(conn, changed)
        tables.change(conn, changed, secret)
        _tell(conn, changed, "webhook.update", actor, at)
        return changed

    return store.write(unit)


def delete(store: Store, project_id: str, webhook_id: str, *, actor: str) -> None:
    """Take a webhook away; what has not arrived will not."""
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        gone = _existing(conn, project_id, webhook_id)
        tables.remove(conn, webhook_id)
        _tell(conn, gone, "webhook.delete", actor, at)

    store.write(unit)


def get(store: Store, project_id: str, webhook_id: str) -> Webhook:
    """One webhook."""
    return store.read(lambda conn: _existing(conn, project_id, webhook_id))


def list_webhooks(
    store: Store, project_id: str | None = None, *, after: str = "", limit: int | None = None
) -> list[Webhook]:
    """The webhooks of a project or of all, oldest first, those after an id."""
    return store.read(lambda conn: tables.all_of(conn, project_id, after=after, limit=limit))


def waiting(store: Store) -> dict[str, tuple[int, int]]:
    """For each webhook with deliveries that have not arrived: how many wait, how many were given up."""
    return store.read(tables.waiting)


def allow_host(store: Store, host: str, *, actor: str, private: bool = False) -> Host:
    """Let webhooks call a host; `private` if its address is of this machine or its network."""
    at = store.clock.now()
    allowed = Host(host=rules.host_of(host), private=private, allowed_by=actor, allowed_ms=to_ms(at))

    def unit(conn: Connection) -> Host:
        tables.add_host(conn, allowed)
        _tell_host(conn, allowed.host, "webhook_host.allow", actor, at, {"private": private})
        return allowed

    return store.write(unit)


def forbid_host(store: Store, host: str, *, actor: str) -> Host:
    """Let webhooks call a host no more, and return it as it was; NotFound if they were not let."""
    at, name = store.clock.now(), rules.host_of(host)

    def unit(conn: Connection) -> Host:
        known = tables.find_host(conn, name)
        if known is None:
            raise NotFound(f"webhooks may not call {name!r} anyway", hint="boucle webhooks hosts")
        tables.remove_host(conn, name)
        _tell_host(conn, name, "webhook_host.forbid", actor, at, {})
        return known

    return store.write(unit)


def list_hosts(store: Store) -> list[Host]:
    """The hosts that webhooks may call."""
    return store.read(tables.all_hosts)


def emit(conn: Connection, project_id: str, event: str, data: Mapping[str, object], at: datetime) -> None:
    """Tell the project's webhooks of an event, in the unit of work that makes it happen: both are there, or neither."""
    told = [one for one in tables.all_of(conn, project_id) if one.status == "ACTIVE" and event in one.events]
    body = message(event, data, at)
    tables.enqueue(
        conn,
        project_id,
        [
            Delivery(
                id=digest_json([one.id, to_ms(at), body])[:32],
                webhook_id=one.id,
                body=body,
                attempts=0,
                next_ms=to_ms(at),
            )
            for one in told
        ],
    )


def message(event: str, data: Mapping[str, object], at: datetime) -> str:
    """The body of a message about an event, as MLflow writes it."""
    entity, _, action = event.partition(".")
    return json.dumps({"entity": entity, "action": action, "timestamp": at.isoformat(), "data": data})


def _check(conn: Connection, webhook: Webhook) -> None:
    rules.check_name(webhook.name)
    rules.check_events(webhook.events)
    parts = rules.split_url(webhook.url)
    host = rules.host_of(parts.hostname or "")
    allowed = tables.find_host(conn, host)
    if allowed is None:
        raise Refused(
            f"webhooks may not call {host!r}: no administrator allowed it",
            hint=f"boucle webhooks allow {host}",
        )
    if parts.scheme != "https" and not allowed.private:
        raise InvalidInput(
            f"webhook URL {webhook.url!r} is not encrypted; allowed is https://, or http:// in a private net"
        )
    for other in tables.all_of(conn, webhook.project_id):
        if other.name == webhook.name and other.id != webhook.id:
            raise Conflict(f"there is a webhook {webhook.name!r} already", hint="give it another name")


def _existing(conn: Connection, project_id: str, webhook_id: str) -> Webhook:
    found = tables.find(conn, project_id, webhook_id)
    if found is None:
        raise NotFound(
            f"there is no webhook {webhook_id[:80]!r} in project {project_id!r}", hint="boucle webhooks list"
        )
    return found


def _tell(conn: Connection, webhook: Webhook, action: str, actor: str, at: datetime) -> None:
    host = rules.split_url(webhook.url).hostname  # the rest of a URL is often a secret
    details = {"id": webhook.id, "host": host, "events": webhook.events, "status": webhook.status}
    audit.append(
        conn,
        project_id=webhook.project_id,
        actor=actor,
        action=action,
        subject=webhook.name,
        details=details,
        at=at,
    )


def _tell_host(
    conn: Connection, host: str, action: str, actor: str, at: datetime, details: Mapping[str, object]
) -> None:
    audit.append(conn, project_id="", actor=actor, action=action, subject=host, details=dict(details), at=at)
