"""The service of a project: where its objectives stand, what it uses and costs.

What a loop may act on is `burning`: the objectives whose budget burns too fast now. It is computed from what the server
keeps by the minute, so it is the same whoever asks, at whatever moment, also after any process was killed.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from boucle.monitoring import slo
from boucle.monitoring.resources import DiskUse, GpuUse, cost, disk_use, folder_bytes, gpu_use
from boucle.monitoring.slo import Series, SloStatus, slos
from boucle.project.context import Context
from boucle.project.records import Project
from boucle.serving.service_log import hour_file, hours, now_s, read_hour, read_minutes


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
    series, found = history.read(_since(project, now), now), standing_of(history, project, now)
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


def _per_minute(series: Series, now: float) -> float | None:
    minutes = slo.summed(series, (series.ends - series.begins) / 60, now - 3600, now)
    asked = slo.summed(series, series.answered + series.refused + series.failed, now - 3600, now)
    return asked / minutes if minutes else None


def standing_of(history: ServiceHistory, project: Project, now: float) -> list[SloStatus]:
    """Where the service objectives stand at a moment."""
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
