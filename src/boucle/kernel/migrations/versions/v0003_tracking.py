"""Tracking: experiments, runs by number, metrics' newest values apart from their points, logged models, artifacts."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_CHUNK = 1000
_KINDS = {str: "s", bool: "b", int: "i", float: "f", type(None): "n"}


def upgrade() -> None:
    """Make the tables anew and bring over what the old ones hold."""
    op.drop_index("ix_runs_parent_id", "runs")
    op.drop_index("ix_runs_project_id_runs_experiment_runs_started_at", "runs")
    for table in _OLD:
        op.rename_table(table, f"old_{table}")
    _make()
    _bring_over(op.get_bind())
    for table in reversed(_OLD):
        op.drop_table(f"old_{table}")


_OLD = ("runs", "run_params", "run_tags", "run_metrics")


def _bring_over(conn: sa.Connection) -> None:
    execute = conn.exec_driver_sql
    span = f"'active', {_ms('min(started_at)')}, {_ms('max(started_at)')} FROM old_runs"
    execute(f"INSERT INTO experiments SELECT project_id, 0, 'Default', {span} GROUP BY project_id")
    execute(
        "INSERT INTO experiments SELECT project_id, row_number() OVER (PARTITION BY project_id"
        f" ORDER BY min(started_at), experiment), experiment, {span}"
        " WHERE experiment != 'Default' GROUP BY project_id, experiment"
    )
    execute(
        "INSERT INTO runs (id, project_id, experiment_id, name, status, lifecycle, user, started_ms, ended_ms,"
        " dataset_digest, bundle_digest) SELECT r.id, r.project_id, e.id, r.name, r.status, 'active', 'unknown',"
        f" {_ms('r.started_at')}, {_ms('r.ended_at')}, r.dataset_digest, r.bundle_digest"
        " FROM old_runs r JOIN experiments e ON e.project_id = r.project_id AND e.name = r.experiment"
        " ORDER BY r.started_at, r.id"
    )
    execute("INSERT INTO run_tags SELECT r.seq, t.name, t.value FROM old_run_tags t JOIN runs r ON r.id = t.run_id")
    execute(
        "INSERT INTO run_tags SELECT r.seq, 'mlflow.parentRunId', o.parent_id"
        " FROM old_runs o JOIN runs r ON r.id = o.id WHERE o.parent_id IS NOT NULL"
    )
    params = execute("SELECT r.seq, p.name, p.value FROM old_run_params p JOIN runs r ON r.id = p.run_id")
    while rows := params.fetchmany(_CHUNK):
        execute(
            "INSERT INTO run_params VALUES (?, ?, ?, ?)", [(run, name, *_param(value)) for run, name, value in rows]
        )
    execute(
        "INSERT INTO run_metrics (run, project_id, experiment_id, name, value, step, at_ms)"
        " SELECT r.seq, r.project_id, r.experiment_id, m.name, m.value, m.step, coalesce(r.ended_ms, r.started_ms)"
        " FROM old_run_metrics m JOIN runs r ON r.id = m.run_id WHERE m.step = (SELECT max(step) FROM old_run_metrics n"
        " WHERE n.run_id = m.run_id AND n.name = m.name)"
    )
    execute(
        "INSERT INTO run_points SELECT s.id, m.step, s.at_ms, coalesce(m.value, 0), m.value IS NULL"
        " FROM old_run_metrics m JOIN runs r ON r.id = m.run_id JOIN run_metrics s ON s.run = r.seq AND s.name = m.name"
    )


def _ms(text: str) -> str:
    """SQL for the milliseconds since 1970 of a stored moment, `2013-03-01T00:00:00.000000+00:00`."""
    return f"strftime('%s', substr({text}, 1, 19)) * 1000 + CAST(substr({text}, 21, 3) AS INTEGER)"


def _param(encoded: str) -> tuple[str, str]:
    value = json.loads(encoded)
    return value if isinstance(value, str) else encoded, _KINDS[type(value)]


def _make() -> None:
    op.create_table(
        "experiments",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("lifecycle", sa.String(length=8), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_experiments"),
        sa.UniqueConstraint("project_id", "name", name="uq_experiments_name"),
    )
    op.create_table(
        "experiment_tags",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "experiment_id"],
            ["experiments.project_id", "experiments.id"],
            name="fk_experiment_tags_experiment",
        ),
        sa.PrimaryKeyConstraint("project_id", "experiment_id", "name", name="pk_experiment_tags"),
    )
    op.create_table(
        "runs",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("lifecycle", sa.String(length=8), nullable=False),
        sa.Column("user", sa.String(length=256), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.Column("dataset_digest", sa.String(length=64), nullable=True),
        sa.Column("bundle_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "experiment_id"], ["experiments.project_id", "experiments.id"], name="fk_runs_experiment"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_runs"),
        sa.UniqueConstraint("id", name="uq_runs_id"),
    )
    op.create_index(
        "ix_runs_started", "runs", ["project_id", "experiment_id", "lifecycle", "started_ms", "id"], unique=False
    )
    op.create_table(
        "run_params",
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=1), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.seq"], name="fk_run_params_run_runs"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_run_params"),
    )
    op.create_index(
        "ix_run_params_value", "run_params", ["name", sa.literal_column("substr(value, 1, 64)"), "run"], unique=False
    )
    op.create_table(
        "run_tags",
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.seq"], name="fk_run_tags_run_runs"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_run_tags"),
    )
    op.create_index(
        "ix_run_tags_value", "run_tags", ["name", sa.literal_column("substr(value, 1, 64)"), "run"], unique=False
    )
    op.create_table(
        "run_metrics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.seq"], name="fk_run_metrics_run_runs"),
        sa.PrimaryKeyConstraint("id", name="pk_run_metrics"),
        sa.UniqueConstraint("run", "name", name="uq_run_metrics_run_name"),
    )
    op.create_index(
        "ix_run_metrics_value", "run_metrics", ["project_id", "experiment_id", "name", "value", "run"], unique=False
    )
    op.create_table(
        "run_points",
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("series", "step", "at_ms", "value", "is_nan", name="pk_run_points"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("source_type", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "experiment_id"], ["experiments.project_id", "experiments.id"], name="fk_datasets_experiment"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("project_id", "experiment_id", "name", "fingerprint", name="uq_datasets_version"),
    )
    op.create_table(
        "run_datasets",
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name="fk_run_datasets_dataset_datasets"),
        sa.ForeignKeyConstraint(["run"], ["runs.seq"], name="fk_run_datasets_run_runs"),
        sa.PrimaryKeyConstraint("run", "dataset", name="pk_run_datasets"),
    )
    op.create_index("ix_run_datasets_dataset", "run_datasets", ["dataset"], unique=False)
    op.create_table(
        "run_models",
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.seq"], name="fk_run_models_run_runs"),
        sa.PrimaryKeyConstraint("run", "model_id", "role", name="pk_run_models"),
    )
    op.create_index("ix_run_models_model_id", "run_models", ["model_id"], unique=False)
    op.create_table(
        "logged_models",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("model_type", sa.String(length=500), nullable=True),
        sa.Column("source_run_id", sa.String(length=64), nullable=True),
        sa.Column("lifecycle", sa.String(length=8), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "experiment_id"],
            ["experiments.project_id", "experiments.id"],
            name="fk_logged_models_experiment",
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_logged_models"),
        sa.UniqueConstraint("id", name="uq_logged_models_id"),
    )
    op.create_index(
        "ix_logged_models_created",
        "logged_models",
        ["project_id", "experiment_id", "lifecycle", "created_ms", "id"],
        unique=False,
    )
    op.create_table(
        "logged_model_params",
        sa.Column("model", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["logged_models.seq"], name="fk_logged_model_params_model_logged_models"),
        sa.PrimaryKeyConstraint("model", "name", name="pk_logged_model_params"),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("model", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["logged_models.seq"], name="fk_logged_model_tags_model_logged_models"),
        sa.PrimaryKeyConstraint("model", "name", name="pk_logged_model_tags"),
    )
    op.create_table(
        "logged_model_metrics",
        sa.Column("model", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("dataset_name", sa.String(length=500), nullable=True),
        sa.Column("dataset_fingerprint", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["logged_models.seq"], name="fk_logged_model_metrics_model_logged_models"),
        sa.PrimaryKeyConstraint("model", "run_id", "name", "step", "at_ms", name="pk_logged_model_metrics"),
    )
    op.create_index("ix_logged_model_metrics_value", "logged_model_metrics", ["name", "value", "model"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=1000), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "owner", "path", name="pk_artifacts"),
        sqlite_with_rowid=False,
    )
