"""Many runs at once: rows written straight into each server's SQLite file while it is stopped, by its own schema.

Each run has three metrics of one point, two params and two tags; MLflow's and Boucle's have the same.
"""

import random
import sqlite3
from pathlib import Path

FIRST_MS = 1_700_000_000_000
METRICS = ("acc", "loss", "f1")


def fill(key: str, database: Path, begin: int, end: int) -> None:
    """Runs number `begin` to `end` in experiment 0."""
    random.seed(begin)
    with sqlite3.connect(database) as connection:
        (_fill_boucle if key == "boucle" else _fill_mlflow)(connection, begin, end)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _id(number: int) -> str:
    return f"{number:032x}"


def _values() -> dict[str, float]:
    return {name: random.random() for name in METRICS}


def _fill_mlflow(connection: sqlite3.Connection, begin: int, end: int) -> None:
    numbers = range(begin, end)
    rows = "INSERT INTO {} ({}) VALUES ({})"
    runs = "run_uuid, name, artifact_uri, start_time, end_time, "
    runs += "source_type, user_id, status, lifecycle_stage, experiment_id"
    connection.executemany(
        rows.format("runs", runs, "?, ?, ?, ?, ?, 'LOCAL', 'ann', 'FINISHED', 'active', 0"),
        (
            (_id(n), f"run-{n}", f"mlflow-artifacts:/0/{_id(n)}/artifacts", FIRST_MS + n, FIRST_MS + n + 5)
            for n in numbers
        ),
    )
    values = {n: _values() for n in numbers}
    connection.executemany(
        rows.format("metrics", "key, value, timestamp, run_uuid, step, is_nan", "?, ?, ?, ?, 0, 0"),
        ((name, value, FIRST_MS + n, _id(n)) for n in numbers for name, value in values[n].items()),
    )
    connection.executemany(
        rows.format("latest_metrics", "key, value, timestamp, run_uuid, step, is_nan", "?, ?, ?, ?, 0, 0"),
        ((name, value, FIRST_MS + n, _id(n)) for n in numbers for name, value in values[n].items()),
    )
    for table, pairs in (("params", _params), ("tags", _tags)):
        connection.executemany(
            rows.format(table, "key, value, run_uuid", "?, ?, ?"),
            ((name, value, _id(n)) for n in numbers for name, value in pairs(n)),
        )


def _fill_boucle(connection: sqlite3.Connection, begin: int, end: int) -> None:
    numbers = range(begin, end)
    connection.execute(
        "INSERT OR IGNORE INTO experiments (project_id, id, name, lifecycle, created_ms, updated_ms)"
        " VALUES ('default', 0, 'Default', 'active', 0, 0)"
    )
    first = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM runs").fetchone()[0] - begin
    series = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM run_metrics").fetchone()[0]
    connection.executemany(
        'INSERT INTO runs (seq, id, project_id, experiment_id, name, status, lifecycle, "user", started_ms, ended_ms)'
        " VALUES (?, ?, 'default', 0, ?, 'finished', 'active', 'ann', ?, ?)",
        ((first + n, _id(n), f"run-{n}", FIRST_MS + n, FIRST_MS + n + 5) for n in numbers),
    )
    points = [
        (series + i, first + n, name, value, FIRST_MS + n)
        for i, (n, name, value) in enumerate((n, name, value) for n in numbers for name, value in _values().items())
    ]
    connection.executemany(
        "INSERT INTO run_metrics (id, run, project_id, experiment_id, name, value, step, at_ms)"
        " VALUES (?, ?, 'default', 0, ?, ?, 0, ?)",
        points,
    )
    connection.executemany(
        "INSERT INTO run_points (series, step, at_ms, value, is_nan) VALUES (?, 0, ?, ?, 0)",
        ((one, at, value) for one, _, _, value, at in points),
    )
    connection.executemany(
        "INSERT INTO run_params (run, name, value, kind) VALUES (?, ?, ?, 's')",
        ((first + n, name, value) for n in numbers for name, value in _params(n)),
    )
    connection.executemany(
        "INSERT INTO run_tags (run, name, value) VALUES (?, ?, ?)",
        ((first + n, name, value) for n in numbers for name, value in _tags(n)),
    )


def _params(number: int) -> list[tuple[str, str]]:
    return [("lr", str([0.1, 0.01, 0.001][number % 3])), ("depth", str(number % 12))]


def _tags(number: int) -> list[tuple[str, str]]:
    return [("team", ["red", "blue", "green", "grey"][number % 4]), ("mlflow.runName", f"run-{number}")]
