"""The alerts of a live window as incidents: with what the window showed, in the transaction that keeps it."""

import logging
from typing import Final

from sqlalchemy import Connection

from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.loop.stage import Stage
from boucle.loop.watch import Watched
from boucle.monitoring import api as monitoring
from boucle.monitoring.alerting.api import take
from boucle.monitoring.alerting.evidence import evidence_of
from boucle.monitoring.alerting.grouping import version_of
from boucle.monitoring.api import AlertChange
from boucle.monitoring.records import Alert, Window

_log: Final = logging.getLogger("boucle.monitor")


def keep_evidence(store: Store, stage: Stage, watched: Watched, opened: list[Alert]) -> Digest | None:
    """What a window shows of the alerts that it opens, as a blob; None where it opens none, or cannot be shown."""
    if not opened:
        return None
    section = stage.project.serving.log
    named = {"event_time": stage.project.data.time, "entity_key": stage.project.data.key, "number": "version"}
    try:
        shown = evidence_of(
            watched.window,
            opened,
            reference=stage.reference(stage.standing(before=watched.window.day).champion).profile,
            profile=watched.profile,
            predictions=watched.predictions,
            hidden=[*section.redact, *section.drop],
            sample_rows=stage.project.alerts.sample_rows,
            names={column: name for column, name in named.items() if name is not None},
        )
        return store.blobs.put(canonical_json(shown))
    except BoucleError:
        raise  # such as a full disk
    except Exception:  # noqa: BLE001 - whatever was logged: the alert counts, also without its evidence
        _log.warning("window %s: its evidence cannot be kept", watched.window.key, exc_info=True)
        return None


def take_alerts(conn: Connection, stage: Stage, window: Window, change: AlertChange, evidence: Digest | None) -> None:
    """Keep the alerts of a live window, and what they make of incidents and of what routes are to be told."""
    stream = stage.held.stream
    monitoring.put_alerts(conn, stage.name, stream, [*change.open, *change.closed])
    monitoring.put_memory(conn, stage.name, stream, change.memory)
    if change.opened or change.closed:
        take(
            conn,
            stage.name,
            stream=stream,
            opened=change.opened,
            closed=change.closed,
            window=window.key,
            version=version_of(window),
            policy=stage.project.alerts,
            evidence=evidence,
            at=stage.store.clock.now(),
        )
