"""History as a feed: the rows of each day as production would have seen them, and their labels."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import polars as pl

from boucle.kernel.errors import InvalidInput
from boucle.project.records import CorruptDrill, Project, ReplaySection

Kinds = Mapping[str, Literal["number", "category"]]


class Feed:
    """The rows of a replay by day (UTC) of their event time, in order of time and key."""

    def __init__(self, table: pl.DataFrame, project: Project) -> None:
        """Take the normalised source; rows outside the replayed days are left out.

        Raises:
            InvalidInput: the project says too little to replay, or no row falls on the replayed days.
        """
        self._project = project
        self.plan = replay_plan(project)
        self.time, self.key = _named(project)
        start = datetime.combine(self.plan.first, time(), UTC)
        end = datetime.combine(self.plan.last + timedelta(days=1), time(), UTC)
        rows = table.filter((pl.col(self.time) >= start) & (pl.col(self.time) < end)).sort(self.time, self.key)
        if rows.is_empty():
            raise InvalidInput(
                f"no row falls on the replayed days {self.plan.first} to {self.plan.last}",
                hint="set replay.first and replay.last in boucle.yaml to days that the data cover",
            )
        self.rows = rows.height
        days = rows.with_columns(day=pl.col(self.time).dt.date()).partition_by("day", as_dict=True)
        self._days = {key[0]: frame.drop("day") for key, frame in days.items()}

    def days(self) -> list[date]:
        """Every replayed day, also those without rows."""
        return [self.plan.first + timedelta(days=n) for n in range((self.plan.last - self.plan.first).days + 1)]

    def served(self, day: date) -> pl.DataFrame:
        """What the endpoint is asked on a day: features, key and event time, with the day's faults in them."""
        project = self._project
        features = [*project.data.features.categorical, *project.data.features.numeric]
        rows = self._day(day)
        for drill in self.plan.drills:
            if isinstance(drill, CorruptDrill) and drill.first <= day <= drill.last:
                rows = corrupt(rows, drill)
        return rows.select(*features, self.key, self.time)

    def labels(self, event_day: date) -> pl.DataFrame:
        """The labels of a day's rows: columns `key`, `label`."""
        return self._day(event_day).select(key=self.key, label=self._project.data.target)

    def _day(self, day: date) -> pl.DataFrame:
        empty = next(iter(self._days.values())).clear()
        return self._days.get(day, empty)


def corrupt(rows: pl.DataFrame, drill: CorruptDrill) -> pl.DataFrame:
    """Replace the drill's columns by its expressions, all computed from the true values.

    >>> drill = CorruptDrill(first=date(2013, 7, 15), last=date(2013, 7, 17), columns={"temp": "(temp - 32) / 1.8"})
    >>> corrupt(pl.DataFrame({"temp": [212.0, None]}), drill)["temp"].to_list()
    [100.0, None]
    """
    return rows.with_columns(**{column: pl.sql_expr(expression) for column, expression in drill.columns.items()})


def batches(rows: pl.DataFrame, size: int) -> Sequence[pl.DataFrame]:
    """Consecutive slices of at most `size` rows."""
    return [rows.slice(start, size) for start in range(0, rows.height, size)]


def replay_plan(project: Project) -> ReplaySection:
    """The project's replay section.

    Raises:
        InvalidInput: it has none.
    """
    if project.replay is None:
        raise InvalidInput(
            "boucle.yaml has no `replay` section",
            hint="add `replay: {first: 2013-03-01, last: 2013-12-31}` with the days to replay",
        )
    return project.replay


def _named(project: Project) -> tuple[str, str]:
    missing = [name for name, value in (("time", project.data.time), ("key", project.data.key)) if value is None]
    if missing or project.data.time is None or project.data.key is None:
        raise InvalidInput(
            "a replay needs to know when a row happened and how its label joins; missing: "
            + ", ".join(f"data.{name}" for name in missing),
            hint="name the columns in boucle.yaml, for example `data: {time: scheduled_at, key: flight_id}`",
        )
    return project.data.time, project.data.key
