"""What runs said about themselves and about the models that they made: evidence for whoever judges.

Threat model: a client lets the files of one model be judged by what was reported about another. So only the run that a
version comes from is heard, and what it reported about one logged model counts for that one alone.
"""

import math
from collections.abc import Collection

from sqlalchemy import Connection, select

from boucle.kernel.listed import among
from boucle.runs.tables import logged_model_metrics, logged_models, run_metrics, runs


def reported(
    conn: Connection, project_id: str, names: Collection[str], *, run_id: str, model_id: str | None
) -> dict[str, float]:
    """The newest value of each of these metrics that a run reported: about the logged model, otherwise about itself.

    A point that it reported about another logged model is left out, although the run has it, too.
    """
    found: dict[str, float] = {}
    table = logged_model_metrics
    about_models = (
        select(logged_models.c.id, table.c.name, table.c.step, table.c.at_ms, table.c.value)
        .join(logged_models, logged_models.c.seq == table.c.model)
        .where(
            table.c.run_id == run_id,
            logged_models.c.project_id == project_id,
            among(table.c.name, names, conn.dialect.name),
        )
        .order_by(table.c.step, table.c.at_ms, table.c.value)
    )
    of_run = (
        select(run_metrics.c.name, run_metrics.c.step, run_metrics.c.at_ms, run_metrics.c.value)
        .join(runs, runs.c.seq == run_metrics.c.run)
        .where(
            runs.c.id == run_id, runs.c.project_id == project_id, among(run_metrics.c.name, names, conn.dialect.name)
        )
    )
    others: set[tuple[str, int, int]] = set()
    for model, name, step, at_ms, value in conn.execute(about_models):
        if model == model_id:
            found[name] = _number(value)
        else:
            others.add((name, step, at_ms))
    for name, step, at_ms, value in conn.execute(of_run):
        if (name, step, at_ms) not in others:
            found.setdefault(name, _number(value))
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else value
