"""What runs and logged models said about themselves: the newest value of metrics, as evidence for whoever judges."""

import math
from collections.abc import Collection

from sqlalchemy import Connection, select

from boucle.runs.tables import logged_model_metrics, logged_models, run_metrics, runs


def reported(
    conn: Connection, project_id: str, names: Collection[str], *, run_id: str, model_id: str | None
) -> dict[str, float]:
    """The newest value of each of these metrics: what the logged model has, otherwise what the run has."""
    found: dict[str, float] = {}
    of_run = (
        select(run_metrics.c.name, run_metrics.c.value)
        .join(runs, runs.c.seq == run_metrics.c.run)
        .where(runs.c.id == run_id, runs.c.project_id == project_id, run_metrics.c.name.in_(names))
    )
    table = logged_model_metrics
    of_model = (
        select(table.c.name, table.c.value)
        .join(logged_models, logged_models.c.seq == table.c.model)
        .where(logged_models.c.id == model_id, logged_models.c.project_id == project_id, table.c.name.in_(names))
        .order_by(table.c.step, table.c.at_ms, table.c.value)
    )
    for query in (of_run, of_model):
        for name, value in conn.execute(query):
            found[name] = math.nan if value is None else value
    return found
