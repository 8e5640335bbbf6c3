"""Deleted experiments, runs and logged models go for good, with all that belongs to them; so does what is known of old
spools.

Deleting marks, so that restoring can take it back; `boucle gc` purges what has been deleted for long enough. It does so
in units of work that hold writers up for milliseconds each, however many points there are. First a run is marked as
`purging`, from which there is no way back, so what a killed purge leaves is gone on with by the next.
"""

import json
from collections.abc import Collection
from functools import partial
from typing import Final

from sqlalchemy import Connection, text

from boucle.kernel import audit
from boucle.kernel.care.records import Purge
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.kernel.store import Store

_POINTS: Final = 20_000
"""Points that one unit of work takes away."""
_OWNERS: Final = 100
"""Runs or logged models that one unit of work takes away."""
_SPOOLS: Final = 20_000
_GOES_ON: Final = "status IN ('running', 'scheduled')"
_OF_RUNS: Final = ("run_metrics", "run_params", "run_tags", "run_datasets", "run_models")
_OF_MODELS: Final = ("logged_model_metrics", "logged_model_params", "logged_model_tags")
_OF_EXPERIMENTS: Final = ("datasets", "experiment_tags")


def purge_deleted(*, before_ms: int, spared: Collection[str], actor: str) -> Purge:
    """What was deleted before a moment and may go, and how. `spared` are the ids of runs and logged models that
    something else needs for its history: they stay with their experiments.
    """
    where = _conditions(before_ms, spared)
    return Purge(where=where, run=lambda store, progress: _purge(store, where, actor, progress))


def _conditions(before_ms: int, spared: Collection[str]) -> dict[str, str]:
    """For each table, which of its rows go."""
    # The ids are what clients wrote. Within SQL that text() reads, `:word` would be a parameter.
    ids = json.dumps(sorted(spared)).replace("'", "''").replace(":", "\\u003a")
    may_go = f"id NOT IN (SELECT value FROM json_each('{ids}'))"
    deleted = f"lifecycle = 'deleted' AND deleted_ms < {int(before_ms)}"
    run = f"(lifecycle = 'purging' OR ({deleted} AND {may_go}))"
    empty = f"(lifecycle = 'deleted' AND updated_ms < {int(before_ms)} AND {_none_but(run, 'runs')})"
    of_empty = f"(project_id, experiment_id) IN (SELECT project_id, id FROM experiments WHERE {empty})"
    model = f"(lifecycle = 'purging' OR (({deleted} OR {of_empty}) AND {may_go}))"
    experiment = f"({empty} AND {_none_but(model, 'logged_models')})"
    runs, models = f"(SELECT seq FROM runs WHERE {run})", f"(SELECT seq FROM logged_models WHERE {model})"
    owners = f"SELECT id FROM runs WHERE {run} UNION ALL SELECT id FROM logged_models WHERE {model}"
    of_experiment = f"(project_id, experiment_id) IN (SELECT project_id, id FROM experiments WHERE {experiment})"
    return {
        "run_points": f"series IN (SELECT id FROM run_metrics WHERE run IN {runs})",
        **dict.fromkeys(_OF_RUNS, f"run IN {runs}"),
        **dict.fromkeys(_OF_MODELS, f"model IN {models}"),
        "artifacts": f"owner IN ({owners})",
        "runs": run,
        "logged_models": model,
        **dict.fromkeys(_OF_EXPERIMENTS, of_experiment),
        "experiments": experiment,
        # A run ends by the last record of its spool. What is sent again all the same begins with the run's name.
        "spools": f"updated_ms < {int(before_ms)} AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id AND {_GOES_ON})",
    }


def _none_but(condition: str, table: str) -> str:
    """That an experiment has nothing in a table but what meets a condition."""
    mine = "one.project_id = experiments.project_id AND one.experiment_id = experiments.id"
    return f"NOT EXISTS (SELECT 1 FROM {table} one WHERE {mine} AND NOT {condition})"


def _purge(store: Store, where: dict[str, str], actor: str, progress: Progress) -> None:
    for table in ("runs", "logged_models"):
        while store.write(partial(_mark, store=store, table=table, condition=where[table], actor=actor)):
            pass
    reach("purge.marked")
    for table, children in (("runs", _OF_RUNS), ("logged_models", _OF_MODELS)):
        seqs = store.read(partial(_numbers, table=table))
        with progress.task(f"purge {table}", total=len(seqs)) as task:
            for first in range(0, len(seqs), _OWNERS):
                some = seqs[first : first + _OWNERS]
                if table == "runs":
                    while store.write(partial(_take_points, seqs=some)) == _POINTS:
                        task.advance(0, note="points")
                store.write(partial(_take, table=table, children=children, seqs=some))
                task.advance(len(some))
    store.write(lambda conn: _take_experiments(conn, where))
    while store.write(partial(_take_spools, condition=where["spools"])) == _SPOOLS:
        pass
    reach("purge.done")


def _mark(conn: Connection, store: Store, table: str, condition: str, actor: str) -> int:
    """Mark some as beyond restoring, and say so in the audit log of their projects."""
    query = f"SELECT seq, id, project_id FROM {table} WHERE {condition} AND lifecycle <> 'purging' LIMIT {_OWNERS}"
    rows = conn.execute(text(query)).all()
    _of(conn, f"UPDATE {table} SET lifecycle = 'purging' WHERE seq IN", [row.seq for row in rows])
    for project_id in sorted({row.project_id for row in rows}):
        audit.append(
            conn,
            project_id=project_id,
            actor=actor,
            action="tracking.purge",
            subject=table,
            details={"ids": [row.id for row in rows if row.project_id == project_id]},
            at=store.clock.now(),
        )
    return len(rows)


def _numbers(conn: Connection, table: str) -> list[int]:
    return [row.seq for row in conn.execute(text(f"SELECT seq FROM {table} WHERE lifecycle = 'purging' ORDER BY seq"))]


def _take_points(conn: Connection, seqs: list[int]) -> int:
    inner = "SELECT series, step, at_ms, value, is_nan FROM run_points WHERE series IN"
    series = f"(SELECT id FROM run_metrics WHERE run IN (SELECT value FROM json_each(:seqs))) LIMIT {_POINTS}"
    statement = f"DELETE FROM run_points WHERE (series, step, at_ms, value, is_nan) IN ({inner} {series})"
    return conn.execute(text(statement), {"seqs": json.dumps(seqs)}).rowcount


def _take(conn: Connection, table: str, children: tuple[str, ...], seqs: list[int]) -> None:
    key = "run" if table == "runs" else "model"
    ids = f"SELECT id FROM {table} WHERE seq IN (SELECT value FROM json_each(:seqs))"
    conn.execute(text(f"DELETE FROM artifacts WHERE owner IN ({ids})"), {"seqs": json.dumps(seqs)})
    for child in children:
        _of(conn, f"DELETE FROM {child} WHERE {key} IN", seqs)
    _of(conn, f"DELETE FROM {table} WHERE seq IN", seqs)


def _take_spools(conn: Connection, condition: str) -> int:
    some = f"SELECT id FROM spools WHERE {condition} LIMIT {_SPOOLS}"
    return conn.execute(text(f"DELETE FROM spools WHERE id IN ({some})")).rowcount


def _of(conn: Connection, statement: str, seqs: list[int]) -> None:
    conn.execute(text(f"{statement} (SELECT value FROM json_each(:seqs))"), {"seqs": json.dumps(seqs)})


def _take_experiments(conn: Connection, where: dict[str, str]) -> None:
    for table in (*_OF_EXPERIMENTS, "experiments"):
        conn.execute(text(f"DELETE FROM {table} WHERE {where[table]}"))
