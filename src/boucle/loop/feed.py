"""History as a feed: the rows of each day as production would have seen them, and their labels."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from boucle.project.records import CorruptDrill, Project
from boucle.project.replayed import named_columns, replay_plan, replayed_rows


class Feed:
    """The rows of a replay by day (UTC) of their event time, in order of time and key."""

    def __init__(self, table: pl.DataFrame, project: Project) -> None:
        """Take the normalised source; rows outside the replayed days are left out.

        Raises:
            InvalidInput: the project says too little to replay, or no row falls on the replayed days.
        """
        self._project = project
        self.plan = replay_plan(project)
        self.time, self.key = named_columns(project)
        rows = replayed_rows(table, project)
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
        return rows[[*features, self.key, self.time]]

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
