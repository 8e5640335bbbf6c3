"""Which projects a store has: those that something was written to."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Select, func, select

from boucle.kernel.clock import from_ms
from boucle.kernel.store import Store
from boucle.models.tables import registered_models
from boucle.runs.tables import experiments, runs


class Project(Struct, frozen=True, kw_only=True):
    """A project, and how much is in it. What was deleted does not count."""

    project: str
    experiments: int
    runs: int
    models: int
    newest_run_at: datetime | None
    """When the newest run began."""


def list_projects(store: Store) -> list[Project]:
    """Every project that anybody used, by name."""
    return store.read(_projects)


def _projects(conn: Connection) -> list[Project]:
    alive = runs.c.lifecycle == "active"
    of_runs = {
        name: (count, from_ms(newest))
        for name, count, newest in conn.execute(
            select(runs.c.project_id, func.count(), func.max(runs.c.started_ms))
            .where(alive)
            .group_by(runs.c.project_id)
        )
    }
    alive = experiments.c.lifecycle == "active"
    of_experiments = _counts(conn, select(experiments.c.project_id, func.count()).where(alive))
    undeleted = registered_models.c.deleted_ms.is_(None)
    of_models = _counts(conn, select(registered_models.c.project_id, func.count()).where(undeleted))
    return [
        Project(
            project=name,
            experiments=of_experiments.get(name, 0),
            runs=of_runs.get(name, (0, None))[0],
            models=of_models.get(name, 0),
            newest_run_at=of_runs.get(name, (0, None))[1],
        )
        for name in sorted({*of_runs, *of_experiments, *of_models})
    ]


def _counts(conn: Connection, query: Select[Any]) -> dict[str, int]:
    found = conn.execute(query.group_by(query.selected_columns[0]))
    return {str(row[0]): int(row[1]) for row in found}
