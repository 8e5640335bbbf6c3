"""What `boucle status` tells of a project."""

from datetime import date, datetime

from msgspec import Struct

from boucle.evaluation.records import Slice
from boucle.loop.quality import WindowQuality
from boucle.loop.report_records import ObjectiveStatus
from boucle.monitoring.records import Alert, ColumnDrift
from boucle.project.needs import NeedStatus


class UnderWay(Struct, frozen=True, kw_only=True):
    """A training that the loop asked for and that is not over."""

    id: str
    window: str
    reason: str
    attempts: int
    """More than one: it was interrupted and is done again."""


class Newest(Struct, frozen=True, kw_only=True):
    """The newest decision of the loop; `boucle loop explain ID` tells why."""

    id: str
    window: str
    """On which it was taken."""
    action: str
    reason: str


class Waiting(Struct, frozen=True, kw_only=True):
    """A version that was trained and has no verdict yet."""

    number: int
    step: str | None
    """How far it is rolled out; None before the first step."""
    since: datetime | None


class StatusReport(Struct, frozen=True, kw_only=True):
    """Where the project stands."""

    project: str
    in_charge: int | None
    since: datetime | None
    """From which event time on."""
    stream: str | None
    """The newest line of served history."""
    served_rows: int
    late_rows: int
    """Of the newest windows: rows that came after their window was judged."""
    too_late_rows: int
    """Rows that came too late for any window, and are in none."""
    last_day: date | None
    """The newest with rows."""
    decided_through: str | None
    """The newest window that the live loop has decided on."""
    under_way: list[UnderWay]
    decision: Newest | None
    waiting: Waiting | None
    open_alerts: list[Alert]
    window: str | None
    """The newest window that has rows."""
    drift: list[ColumnDrift]
    """Its columns that drifted, jumped or moved beyond noise, what matters most first."""
    quality: list[WindowQuality]
    """Of the newest windows: what the answers promise, and what the labels that came say."""
    slices: list[Slice]
    """The loop's metric over the newest labelled days, by the columns of `evaluation.slices`."""
    objectives: list[ObjectiveStatus]
    needs: list[NeedStatus]
    """What needs.yaml asks beside what boucle.yaml enforces; empty without that file."""
