"""The service of a project: where its objectives stand, what it uses and costs, and the alerts of that.

What a loop may act on is `burning`: the objectives whose budget burns too fast now. It is computed from what the server
keeps by the minute, so it is the same whoever asks, at whatever moment, also after any process was killed.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection

from boucle.kernel.store import Store
from boucle.loop.live import LIVE
from boucle.monitoring import api as monitoring
from boucle.monitoring import slo
from boucle.monitoring.alerting.api import take
from boucle.monitoring.alerting.policy import AlertsSection, by_the_minute
from boucle.monitoring.alerts import BY_THE_MINUTE, Signal, carried
from boucle.monitoring.records import Alert
from boucle.monitoring.resources import DiskUse, GpuUse, cost, disk_use, folder_bytes, gpu_use
from boucle.monitoring.slo import Series, SloStatus, slos
from boucle.project.context import Context
from boucle.project.records import Project
from boucle.serving.service_log import hour_file, hours, now_s, read_hour, read_minutes

EVERY_S = 30.0
"""How often the monitor looks."""


class Usage(Struct, frozen=True, kw_only=True):
    """What the period took, as far as it was watched."""

    hours: float
    """For which there are minutes."""
    predictions: float
    """Rows that were answered by all endpoints of the server."""
    cpu_hours: float
    memory_gb_hours: float
    cost: float | None
    """None without prices."""
    cost_per_thousand: float | None
    """Predictions; None without prices, and before there was one."""


class ServiceReport(Struct, frozen=True, kw_only=True):
    """How the endpoint of a project does."""

    project: str
    at: datetime
    period_days: float
    watched_since: datetime | None
    """The oldest minute of the period; None if the endpoint was not served."""
    requests_per_minute: float | None
    """Over the newest hour, as far as it was watched."""
    objectives: list[SloStatus]
    burning: list[str]
    """Metrics that page somebody, or have the loop act."""
    usage: Usage
    disk: DiskUse
    """The file system of the home."""
    home_bytes: int
    gpus: list[GpuUse]


def service_report(context: Context) -> ServiceReport:
    """Read what was kept, and look at the machine."""
    project, now = context.project, now_s()
    history = ServiceHistory(context.home, project.project)
    series, found = history.read(_since(project, now), now), _standing(history, project, now)
    return ServiceReport(
        project=project.project,
        at=datetime.fromtimestamp(now, UTC),
        period_days=project.monitoring.slo.period_days,
        watched_since=datetime.fromtimestamp(float(series.begins.min()), UTC) if series.begins.size else None,
        requests_per_minute=_per_minute(series, now),
        objectives=found,
        burning=slo.burning(found),
        usage=_usage(project, series, now),
        disk=disk_use(context.home),
        home_bytes=folder_bytes(context.home),
        gpus=gpu_use(),
    )


def service_standing(home: Path, project: Project, now: float | None = None) -> list[SloStatus]:
    """Where the service objectives of a project stand, at a moment in seconds since the epoch; None is now."""
    return _standing(ServiceHistory(home, project.project), project, now_s() if now is None else now)


def service_usage(context: Context) -> tuple[list[SloStatus], Usage]:
    """Where the objectives stand now, and what the period took."""
    project, now = context.project, now_s()
    series = ServiceHistory(context.home, project.project).read(_since(project, now), now)
    asked = slos(project.objectives, project.monitoring.slo)
    return slo.statuses(asked, series, project.monitoring.slo, now), _usage(project, series, now)


def requests_per_minute(context: Context) -> float | None:
    """Over the newest hour, as far as it was watched; None if it was not."""
    now = now_s()
    return _per_minute(slo.series_of(read_minutes(context.home, context.project.project, now - 3600, now)), now)


class ServiceHistory:
    """The minutes of an endpoint, of which only those hours are read again that changed. Not thread-safe."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self._home, self._endpoint = home, endpoint
        self._hours: dict[int, tuple[tuple[int, int], Series]] = {}

    def read(self, since: float, until: float) -> Series:
        """The minutes that have a part in a time, oldest first."""
        found = {}
        for number in hours(since, until):
            try:
                stat = hour_file(self._home, self._endpoint, number).stat()
            except OSError:
                continue
            stamp, known = (stat.st_ino, stat.st_mtime_ns), self._hours.get(number)
            if known is None or known[0] != stamp:
                hour = read_hour(self._home, self._endpoint, number)
                known = (stamp, slo.series_of(hour.minutes if hour else []))
            found[number] = known
        self._hours = found
        return slo.part_of(slo.joined([series for _, series in found.values()]), since, until)


class ServiceWatch:
    """Judges the service now and then, and keeps its alerts beside those of windows. Not thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._history = ServiceHistory(context.home, context.project.project)
        self._next = 0.0

    def look(self) -> list[Alert]:
        """The alerts that opened, if it is time to look."""
        if time.monotonic() < self._next:
            return []
        self._next = time.monotonic() + EVERY_S
        signals = slo.slo_signals(_standing(self._history, self._context.project, now_s()))
        project = self._context.project
        return keep_alerts(self._context.store(), project.project, signals, project.alerts)


def keep_alerts(store: Store, name: str, signals: Sequence[Signal], policy: AlertsSection) -> list[Alert]:
    """Open, keep and close the alerts that are judged by the minute, and make incidents of them; those that opened."""
    known = [one for one in monitoring.alerts(store, name, LIVE, only_open=True) if one.kind in BY_THE_MINUTE]
    if not known and not signals:
        return []
    at = store.clock.now()
    change = carried(known, signals, stream=LIVE, day=at.date(), rules=by_the_minute(policy.rules))
    changed = [one for one in (*change.open, *change.closed) if one not in known]

    def unit(conn: Connection) -> None:
        monitoring.put_alerts(conn, name, LIVE, changed)
        if change.opened or change.closed:
            take(
                conn,
                name,
                stream=LIVE,
                opened=change.opened,
                closed=change.closed,
                window=f"{at:%Y-%m-%dT%H:%M:%SZ}",
                policy=policy,
                at=at,
            )

    if changed:
        store.write(unit)
    return change.opened


def _per_minute(series: Series, now: float) -> float | None:
    minutes = slo.summed(series, (series.ends - series.begins) / 60, now - 3600, now)
    asked = slo.summed(series, series.answered + series.refused + series.failed, now - 3600, now)
    return asked / minutes if minutes else None


def _standing(history: ServiceHistory, project: Project, now: float) -> list[SloStatus]:
    asked = slos(project.objectives, project.monitoring.slo)
    if not asked:
        return []
    return slo.statuses(asked, history.read(_since(project, now), now), project.monitoring.slo, now)


def _since(project: Project, now: float) -> float:
    return now - timedelta(days=project.monitoring.slo.period_days).total_seconds()


def _usage(project: Project, series: Series, now: float) -> Usage:
    since = _since(project, now)
    cpu_s, memory_gb_s, rows = (slo.summed(series, column, since, now) for column in series.used.T)
    hours = slo.summed(series, series.ends - series.begins, since, now) / 3600
    prices = project.monitoring.cost
    paid = cost(prices, hours=hours, cpu_s=cpu_s, memory_gb_s=memory_gb_s) if prices.is_set else None
    return Usage(
        hours=hours,
        predictions=rows,
        cpu_hours=cpu_s / 3600,
        memory_gb_hours=memory_gb_s / 3600,
        cost=paid,
        cost_per_thousand=None if paid is None or not rows else paid / rows * 1000,
    )
