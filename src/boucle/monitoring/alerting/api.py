"""Incidents: kept with the window that opens and closes them, looked at, acknowledged and silenced by people."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import as_text
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.monitoring.alerting import outbox
from boucle.monitoring.alerting import store as tables
from boucle.monitoring.alerting.grouping import IncidentChange, next_incidents
from boucle.monitoring.alerting.policy import AlertsSection, fits
from boucle.monitoring.alerting.records import Acknowledgement, Evidence, Incident, Silence, Told
from boucle.monitoring.alerting.telling import retire, settle
from boucle.monitoring.records import ALERT_KINDS, Alert

MONITOR: Final = "service:monitor"
"""Who opens and closes incidents."""
MATCHED: Final = ("kind", "subject", "rule", "severity", "version", "endpoint", "incident")
"""The labels that a silence may choose by."""
_LONGEST_TEXT: Final = 2000
LONGEST_SILENCE: Final = timedelta(days=366)


def take(
    conn: Connection,
    project_id: str,
    *,
    stream: str,
    opened: Sequence[Alert],
    closed: Sequence[Alert],
    window: str,
    policy: AlertsSection,
    at: datetime,
    version: str = "",
    evidence: Digest | None = None,
) -> IncidentChange:
    """Make incidents of alerts that opened and closed, and put on its way what routes are to be told: in the unit of
    work that keeps the alerts.

    `window`: key of the one in which they did, or the moment where a monitor knows no windows. `version`: that which
    answered then. `evidence`: a blob of `Evidence`.
    """
    before = tables.find_incidents(conn, project_id, stream=stream, only_open=True)
    change = next_incidents(
        before[::-1],  # of two of one group, which can only be if grouping was changed, the newer one is joined
        opened,
        closed,
        policy,
        stream=stream,
        endpoint=project_id,
        window=window,
        version=version,
        at=at,
        number=tables.next_number(conn, project_id),
    )
    tables.put_incidents(conn, project_id, [*change.opened, *change.changed, *change.closed])
    if evidence is not None:
        ids = {one.id for one in opened}
        grown = [one.number for one in [*change.opened, *change.changed] if ids & {alert.id for alert in one.alerts}]
        tables.put_evidence(conn, project_id, grown, window, evidence)
    for action, found in (("incident.open", change.opened), ("incident.close", change.closed)):
        for one in found:
            details = {"title": one.title[:200], "severity": one.severity, "window": window}
            _tell(conn, project_id, MONITOR, action, f"incident/{one.number}", details, at)
    for one in change.closed:
        retire(conn, project_id, one.number, policy)
    settle(conn, project_id, policy, at)
    return change


def incidents(store: Store, project_id: str, *, only_open: bool = False, most: int | None = None) -> list[Incident]:
    """A project's incidents, open ones first, the newest of each first."""
    return store.read(lambda conn: tables.find_incidents(conn, project_id, only_open=only_open, most=most))


def incident(store: Store, project_id: str, number: int) -> Incident:
    """One incident; NotFound if there is none of that number."""
    return store.read(lambda conn: _existing(conn, project_id, number))


def evidence(store: Store, project_id: str, number: int) -> list[Evidence]:
    """What is kept with an incident, the oldest window first. Retention may have taken it away."""
    kept = store.read(lambda conn: tables.find_evidence(conn, project_id, number))
    return [msgspec.json.decode(store.blobs.get(one.digest), type=Evidence) for one in kept]


def told(store: Store, project_id: str, number: int) -> list[Told]:
    """What routes were told of an incident."""
    return store.read(lambda conn: outbox.told_of(conn, project_id, number))


def acknowledge(store: Store, project_id: str, number: int, *, by: str, note: str = "") -> Incident:
    """Say that somebody looks after an incident: of it nobody is reminded any more. A note stays until there
    is another one. Refused if it is over."""
    at = store.clock.now()
    _check_text("note", note)

    def unit(conn: Connection) -> Incident:
        found = _existing(conn, project_id, number)
        if found.closed_at is not None:
            raise Refused(
                f"incident {number} is over since {found.closed_at:%Y-%m-%d %H:%M} UTC; open ones can be acknowledged",
                hint="boucle alerts list",
            )
        before = "" if found.acknowledged is None else found.acknowledged.note
        changed = replace(found, acknowledged=Acknowledgement(by=by, at=at, note=note or before))
        tables.put_incidents(conn, project_id, [changed])
        _tell(conn, project_id, by, "incident.acknowledge", f"incident/{number}", {"note": note}, at)
        return changed

    return store.write(unit)


def silence(
    store: Store, project_id: str, matches: Mapping[str, str], *, until: datetime, by: str, why: str
) -> Silence:
    """Hold back, until a moment, what routes would be told of alerts whose labels are like all these patterns.

    Raises:
        InvalidInput: nothing is chosen, a label does not exist, the pattern is like no kind of alert, or the moment is
            over or more than a year away.
        NotFound: there is no incident of that number.
    """
    at = store.clock.now()
    _check_text("why", why)
    unknown = sorted(set(matches) - set(MATCHED))
    if unknown or not matches:
        wrong = (
            f"a silence can't choose by {unknown[0]!r}" if unknown else "a silence without a choice would hold back all"
        )
        raise InvalidInput(f"{wrong}; choose by {', '.join(MATCHED)}", hint="boucle alerts silence --help")
    if "kind" in matches and not any(fits([matches["kind"]], kind) for kind in ALERT_KINDS):
        raise InvalidInput(
            f"{matches['kind']!r} is like no kind of alert; there are {', '.join(ALERT_KINDS)}",
            hint="boucle alerts silence --help",
        )
    if not at < until <= at + LONGEST_SILENCE:
        raise InvalidInput(
            f"a silence until {until.isoformat()} is not allowed; it ends after now, which is "
            f"{at.isoformat(timespec='seconds')}, and within a year",
            hint="boucle alerts silence --help",
        )

    def unit(conn: Connection) -> Silence:
        if "incident" in matches and matches["incident"].isdecimal():
            _existing(conn, project_id, int(matches["incident"]))
        made = Silence(
            number=tables.next_number(conn, project_id, tables.silences),
            matches=dict(matches),
            until=until,
            by=by,
            why=why,
            made_at=at,
        )
        tables.put_silence(conn, project_id, made)
        details = {"matches": dict(matches), "until": as_text(until), "why": why}
        _tell(conn, project_id, by, "silence.begin", f"silence/{made.number}", details, at)
        return made

    return store.write(unit)


def unsilence(store: Store, project_id: str, number: int, *, by: str) -> Silence:
    """End a silence before its time; what it held back and is still so is told. Twice is harmless."""
    at = store.clock.now()

    def unit(conn: Connection) -> Silence:
        found = tables.find_silence(conn, project_id, number)
        if found is None:
            raise NotFound(f"there is no silence {number} in {project_id}", hint="boucle alerts silences")
        if not found.is_on(at):
            return found
        ended = replace(found, ended_at=at)
        tables.put_silence(conn, project_id, ended)
        _tell(conn, project_id, by, "silence.end", f"silence/{number}", {"until": as_text(found.until)}, at)
        return ended

    return store.write(unit)


def silences(store: Store, project_id: str, *, every: bool = False) -> list[Silence]:
    """The silences that count now, or every one there ever was."""
    after = None if every else as_text(store.clock.now())
    return store.read(lambda conn: tables.find_silences(conn, project_id, after=after))


def _existing(conn: Connection, project_id: str, number: int) -> Incident:
    found = tables.find_incident(conn, project_id, number)
    if found is None:
        raise NotFound(f"there is no incident {number} in {project_id}", hint="boucle alerts list")
    return found


def _check_text(what: str, text: str) -> None:
    if len(text) > _LONGEST_TEXT:
        raise InvalidInput(f"the {what} has {len(text):,} characters; {_LONGEST_TEXT:,} are allowed")


def _tell(
    conn: Connection,
    project_id: str,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, object],
    at: datetime,
) -> None:
    audit.append(conn, project_id=project_id, actor=actor, action=action, subject=subject, details=dict(details), at=at)
