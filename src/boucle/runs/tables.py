"""Tables of runs and of what is tracked beside them. Moments are whole milliseconds since 1970, UTC.

A run has a small number of its own, `seq`, by which all that belongs to it is found: rows and indexes stay narrow. The
newest value of each metric stands in `run_metrics`, apart from the points of its history: a search over runs reads no
history, and a history of any length makes no search slower.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
)

from boucle.kernel.database import metadata

experiments = Table(
    "experiments",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(500), nullable=False),
    Column("lifecycle", String(8), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("project_id", "name", name="uq_experiments_name"),
)
"""Each project counts its own from 0, which is `Default`. `lifecycle` is `active` or `deleted`."""

experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("experiment_id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["project_id", "experiment_id"],
        ["experiments.project_id", "experiments.id"],
        name="fk_experiment_tags_experiment",
    ),
)

runs = Table(
    "runs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(128), nullable=False),
    Column("experiment_id", Integer, nullable=False),
    Column("name", String(250), nullable=False),
    Column("status", String(16), nullable=False),
    Column("lifecycle", String(8), nullable=False),
    Column("user", String(256), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("deleted_ms", BigInteger),
    Column("dataset_digest", String(64)),
    Column("bundle_digest", String(64)),
    Column("created_by", String(200)),
    ForeignKeyConstraint(
        ["project_id", "experiment_id"], ["experiments.project_id", "experiments.id"], name="fk_runs_experiment"
    ),
    Index("ix_runs_started", "project_id", "experiment_id", "lifecycle", "started_ms", "id"),
)
"""The run that a run belongs to is its tag `mlflow.parentRunId`, as MLflow has it. `user` is what the client says,
`created_by` the principal whose request made it: no request changes that."""

run_params = Table(
    "run_params",
    metadata,
    Column("run", Integer, ForeignKey("runs.seq"), primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    Column("kind", String(1), nullable=False),
)
"""Values are text, as MLflow has them; `kind` says what they were: `s`tr, `i`nt, `f`loat, `b`ool or `n`one."""
Index("ix_run_params_value", run_params.c.name, func.substr(run_params.c.value, 1, 64), run_params.c.run)

run_tags = Table(
    "run_tags",
    metadata,
    Column("run", Integer, ForeignKey("runs.seq"), primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)
Index("ix_run_tags_value", run_tags.c.name, func.substr(run_tags.c.value, 1, 64), run_tags.c.run)

run_metrics = Table(
    "run_metrics",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, ForeignKey("runs.seq"), nullable=False),
    Column("project_id", String(128), nullable=False),
    Column("experiment_id", Integer, nullable=False),
    Column("name", String(250), nullable=False),
    Column("value", Double),
    Column("step", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("rises", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("run", "name", name="uq_run_metrics_run_name"),
    Index("ix_run_metrics_value", "project_id", "experiment_id", "name", "value", "run"),
)
"""The newest point of each metric of each run: the largest (step, at_ms, value). A null value is NaN.

`rises` says that the moments of all its points are known to rise with their steps: both orders are one.
"""

run_points = Table(
    "run_points",
    metadata,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, primary_key=True),
    Column("is_nan", Boolean, primary_key=True),
    sqlite_with_rowid=False,
)
"""Every point of a metric, by `run_metrics.id`; a point that is sent again is the same row. A NaN has the value 0.

There is no foreign key, as each point is written with its series in one unit of work and would pay for a look-up.
"""

datasets = Table(
    "datasets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("experiment_id", Integer, nullable=False),
    Column("name", String(500), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("source_type", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
    UniqueConstraint("project_id", "experiment_id", "name", "fingerprint", name="uq_datasets_version"),
    ForeignKeyConstraint(
        ["project_id", "experiment_id"], ["experiments.project_id", "experiments.id"], name="fk_datasets_experiment"
    ),
)
"""What clients say of the data they used; `fingerprint` is theirs and names nothing that is kept here."""

run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run", Integer, ForeignKey("runs.seq"), primary_key=True, autoincrement=False),
    Column("dataset", Integer, ForeignKey("datasets.id"), primary_key=True, autoincrement=False, index=True),
    Column("tags", Text, nullable=False),
)
"""`tags` is a JSON object, such as `{"mlflow.data.context": "training"}`."""

run_models = Table(
    "run_models",
    metadata,
    Column("run", Integer, ForeignKey("runs.seq"), primary_key=True, autoincrement=False),
    Column("model_id", String(64), primary_key=True, index=True),
    Column("role", String(8), primary_key=True),
    Column("step", BigInteger, nullable=False),
)
"""Logged models that a run took (`input`) or gave (`output`)."""

logged_models = Table(
    "logged_models",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(128), nullable=False),
    Column("experiment_id", Integer, nullable=False),
    Column("name", String(500), nullable=False),
    Column("status", String(32), nullable=False),
    Column("status_message", Text),
    Column("model_type", String(500)),
    Column("source_run_id", String(64)),
    Column("lifecycle", String(8), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    Column("created_by", String(200)),
    ForeignKeyConstraint(
        ["project_id", "experiment_id"],
        ["experiments.project_id", "experiments.id"],
        name="fk_logged_models_experiment",
    ),
    Index("ix_logged_models_created", "project_id", "experiment_id", "lifecycle", "created_ms", "id"),
)

logged_model_params = Table(
    "logged_model_params",
    metadata,
    Column("model", Integer, ForeignKey("logged_models.seq"), primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)

logged_model_tags = Table(
    "logged_model_tags",
    metadata,
    Column("model", Integer, ForeignKey("logged_models.seq"), primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)

logged_model_metrics = Table(
    "logged_model_metrics",
    metadata,
    Column("model", Integer, ForeignKey("logged_models.seq"), primary_key=True, autoincrement=False),
    Column("run_id", String(64), primary_key=True),
    Column("name", String(250), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double),
    Column("dataset_name", String(500)),
    Column("dataset_fingerprint", String(64)),
    Index("ix_logged_model_metrics_value", "name", "value", "model"),
)
"""A null value is NaN."""

artifacts = Table(
    "artifacts",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("path", String(1000), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Names of blobs, by the id of the run or logged model that they belong to; what a name stands for may change."""

spools = Table(
    "spools",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
"""How far the frames of each client's spool are in the tables above: what is sent again is passed over."""
