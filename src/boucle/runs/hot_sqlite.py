"""The statements of the hot paths, for SQLite and its driver alone; another database gets a module of its own.

Below SQLAlchemy, as its work on each statement costs more than SQLite's. And many rows in one statement: the driver
gives up Python's lock in each step of a statement, and on a busy server gets it back late. With `executemany` that
happens for every row (measured: 430,000 points a second alone and 70,000 beside a busy thread); with 256 rows in a
statement it is 600,000 and 120,000.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

_MOST_ROWS: Final = 256
_POINTS: Final = ("INSERT OR IGNORE INTO run_points (series, step, at_ms, value, is_nan) VALUES ", 5, "")
_SERIES: Final = (
    "INSERT INTO run_metrics (id, run, project_id, experiment_id, name, value, step, at_ms, rises) VALUES ",
    9,
    " ON CONFLICT (id) DO UPDATE SET value = excluded.value, step = excluded.step, at_ms = excluded.at_ms,"
    " rises = excluded.rises",
)
_PARAMS: Final = ("INSERT INTO run_params (run, name, value, kind) VALUES ", 4, "")
_TAGS: Final = (
    "INSERT INTO run_tags (run, name, value) VALUES ",
    3,
    " ON CONFLICT (run, name) DO UPDATE SET value = excluded.value",
)
_MODEL_POINTS: Final = (
    "INSERT INTO logged_model_metrics (model, run_id, name, step, at_ms, value, dataset_name, dataset_fingerprint)"
    " VALUES ",
    8,
    " ON CONFLICT (model, run_id, name, step, at_ms) DO UPDATE SET value = excluded.value,"
    " dataset_name = excluded.dataset_name, dataset_fingerprint = excluded.dataset_fingerprint",
)


def stamp(raw: sqlite3.Connection) -> tuple[int, int]:
    """What changes whenever anybody else writes: SQLite's count of other connections' commits, and the count of rows
    that this connection changed. Exact inside a transaction that has the write lock.
    """
    version: int = raw.execute("PRAGMA data_version").fetchone()[0]
    return version, raw.total_changes


def find_run(raw: sqlite3.Connection, run_id: str) -> tuple[int, str, int, str] | None:
    """A run's number, project, experiment and lifecycle."""
    found: tuple[int, str, int, str] | None = raw.execute(
        "SELECT seq, project_id, experiment_id, lifecycle FROM runs WHERE id = ?", (run_id,)
    ).fetchone()
    return found


def find_lifecycle(raw: sqlite3.Connection, project_id: str, experiment: int) -> str | None:
    """The lifecycle of an experiment."""
    found = raw.execute(
        "SELECT lifecycle FROM experiments WHERE project_id = ? AND id = ?", (project_id, experiment)
    ).fetchone()
    return None if found is None else str(found[0])


def find_experiment(raw: sqlite3.Connection, project_id: str, name: str) -> int | None:
    """The id of an experiment."""
    found = raw.execute("SELECT id FROM experiments WHERE project_id = ? AND name = ?", (project_id, name)).fetchone()
    return None if found is None else int(found[0])


def add_run(raw: sqlite3.Connection, row: Mapping[str, object]) -> int:
    """A new row of `runs`; its number."""
    number = raw.execute(
        "INSERT INTO runs (id, project_id, experiment_id, name, status, lifecycle, user, started_ms, created_by)"
        " VALUES (:id, :project_id, :experiment_id, :name, :status, :lifecycle, :user, :started_ms, :created_by)",
        row,
    ).lastrowid
    assert number is not None
    return number


def find_series(raw: sqlite3.Connection, run: int, name: str) -> tuple[int, int, int, float | None, int] | None:
    """The id of a metric of a run, its newest step, moment and value, and whether its moments are known to rise."""
    found: tuple[int, int, int, float | None, int] | None = raw.execute(
        "SELECT id, step, at_ms, value, rises FROM run_metrics WHERE run = ? AND name = ?", (run, name)
    ).fetchone()
    return found


def last_series(raw: sqlite3.Connection) -> int:
    """The largest id of a metric."""
    found: int | None = raw.execute("SELECT max(id) FROM run_metrics").fetchone()[0]
    return found or 0


def find_param(raw: sqlite3.Connection, run: int, name: str) -> str | None:
    """The text of a param."""
    found = raw.execute("SELECT value FROM run_params WHERE run = ? AND name = ?", (run, name)).fetchone()
    return None if found is None else str(found[0])


def find_model(raw: sqlite3.Connection, project_id: str, model_id: str) -> int | None:
    """The number of a logged model that is not deleted."""
    found = raw.execute(
        "SELECT seq FROM logged_models WHERE id = ? AND project_id = ? AND lifecycle = 'active'", (model_id, project_id)
    ).fetchone()
    return None if found is None else int(found[0])


_AMONG: Final = "IN (SELECT value FROM json_each(?))"
"""The numbers come as one JSON list: the text of a statement is the same for any number of them, so that it is prepared
once, and building it costs nothing. SQLAlchemy's list of a hundred parameters costs half a millisecond."""


def read_runs(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """Runs as (number, id, project, experiment, name, status, lifecycle, user, start, end), in any order."""
    return _of_runs(
        raw,
        "SELECT seq, id, project_id, experiment_id, name, status, lifecycle, user, started_ms, ended_ms FROM runs"
        f" WHERE seq {_AMONG}",
        seqs,
    )


def read_newest(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """The newest points of runs as (run, metric, value, step, moment), by run and metric; a NaN is None."""
    return _of_runs(
        raw,
        f"SELECT run, name, value, step, at_ms FROM run_metrics WHERE run {_AMONG} ORDER BY run, name",
        seqs,
    )


def read_params(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """The params of runs as (run, name, text), by run and name."""
    return _of_runs(raw, f"SELECT run, name, value FROM run_params WHERE run {_AMONG} ORDER BY run, name", seqs)


def read_tags(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """The tags of runs as (run, name, text), by run and name."""
    return _of_runs(raw, f"SELECT run, name, value FROM run_tags WHERE run {_AMONG} ORDER BY run, name", seqs)


def read_models(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """The logged models of runs as (run, model, role, step), by run and model."""
    return _of_runs(
        raw,
        f"SELECT run, model_id, role, step FROM run_models WHERE run {_AMONG} ORDER BY run, model_id",
        seqs,
    )


def read_datasets(raw: sqlite3.Connection, seqs: Sequence[int]) -> list[Any]:
    """The datasets of runs as (run, JSON of tags, name, fingerprint, source's type, source, schema, profile)."""
    return _of_runs(
        raw,
        "SELECT run, run_datasets.tags, name, fingerprint, source_type, source, schema, profile FROM run_datasets"
        f" JOIN datasets ON datasets.id = dataset WHERE run {_AMONG} ORDER BY run, datasets.id",
        seqs,
    )


def read_experiments(raw: sqlite3.Connection, project_id: str, numbers: Sequence[int]) -> list[Any]:
    """Experiments as (id, name, lifecycle, made, changed), in any order."""
    return raw.execute(
        f"SELECT id, name, lifecycle, created_ms, updated_ms FROM experiments WHERE project_id = ? AND id {_AMONG}",
        (project_id, json.dumps(list(numbers))),
    ).fetchall()


def read_experiment_tags(raw: sqlite3.Connection, project_id: str, numbers: Sequence[int]) -> list[Any]:
    """The tags of experiments as (experiment, name, text), by name."""
    return raw.execute(
        f"SELECT experiment_id, name, value FROM experiment_tags WHERE project_id = ? AND experiment_id {_AMONG}"
        " ORDER BY name",
        (project_id, json.dumps(list(numbers))),
    ).fetchall()


def _of_runs(raw: sqlite3.Connection, statement: str, seqs: Sequence[int]) -> list[Any]:
    return raw.execute(statement, (json.dumps(list(seqs)),)).fetchall()


def write_points(raw: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Add points (series, step, moment, value, is NaN); one that is there already stays."""
    _write(raw, _POINTS, values)


def write_series(raw: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Add metrics (id, run, project, experiment, name, value, step, moment, rises), or tell what is newer."""
    _write(raw, _SERIES, values)


def write_params(raw: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Add params (run, name, text, kind)."""
    _write(raw, _PARAMS, values)


def write_tags(raw: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Set tags (run, name, text)."""
    _write(raw, _TAGS, values)


def write_model_points(raw: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Add values (model, run id, metric, step, moment, value, dataset's name and fingerprint)."""
    _write(raw, _MODEL_POINTS, values)


def change_run(raw: sqlite3.Connection, run: int, status: str | None, ended_ms: int | None, name: str | None) -> None:
    """Change what is not None."""
    raw.execute(
        "UPDATE runs SET status = coalesce(?, status), ended_ms = coalesce(?, ended_ms), name = coalesce(?, name)"
        " WHERE seq = ?",
        (status, ended_ms, name, run),
    )


def name_run(raw: sqlite3.Connection, run: int, name: str) -> None:
    """Give a run another name."""
    raw.execute("UPDATE runs SET name = ? WHERE seq = ?", (name, run))


def _write(raw: sqlite3.Connection, statement: tuple[str, int, str], values: Sequence[Any]) -> None:
    """Run a statement over rows that stand in `values` one behind the other, in as few steps as powers of 2 make."""
    width = statement[1]
    first, rows = 0, len(values) // width
    while rows:
        count = min(_MOST_ROWS, 1 << (rows.bit_length() - 1))
        raw.execute(_text(statement, count), values[first : first + count * width])
        first += count * width
        rows -= count


@cache
def _text(statement: tuple[str, int, str], rows: int) -> str:
    head, width, tail = statement
    row = f"({', '.join('?' * width)})"
    return f"{head}{', '.join([row] * rows)}{tail}"
