"""Tables of the registry: models, versions, their tags, and the history of aliases."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from boucle.kernel.database import metadata

registered_models = Table(
    "registered_models",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("description", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    # The row of a name outlives its model: a number that was used is never given again.
    Column("deleted_ms", BigInteger),
    Column("renamed_to", String(256)),
    Column("last_number", Integer, nullable=False),
)

registered_model_tags = Table(
    "registered_model_tags",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["project_id", "model"],
        ["registered_models.project_id", "registered_models.name"],
        name="fk_registered_model_tags_model",
        onupdate="CASCADE",
    ),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("dataset_digest", String(64)),
    Column("evaluation_digest", String(64)),
    Column("run_id", String(64), nullable=False),
    Column("author", String(200), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("source", Text),
    Column("description", Text),
    Column("stage", String(20), nullable=False),
    Column("run_link", Text),
    Column("model_id", String(64)),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    ForeignKeyConstraint(
        ["project_id", "model"],
        ["registered_models.project_id", "registered_models.name"],
        name="fk_model_versions_model",
        onupdate="CASCADE",
    ),
    Index("ix_model_versions_bundle", "project_id", "model", "bundle_digest"),
    Index("ix_model_versions_run", "project_id", "run_id"),
    Index("ix_model_versions_updated", "project_id", "updated_ms"),
)

model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["project_id", "model", "number"],
        ["model_versions.project_id", "model_versions.model", "model_versions.number"],
        name="fk_model_version_tags_version",
        onupdate="CASCADE",
    ),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("alias", String(255), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer),
    Column("permit_id", String(64)),
    Column("actor", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("moved_at", String(32), nullable=False),
    Column("effective_at", String(32), nullable=False),
    UniqueConstraint("permit_id", name="uq_alias_moves_permit"),
    ForeignKeyConstraint(
        ["project_id", "model", "number"],
        ["model_versions.project_id", "model_versions.model", "model_versions.number"],
        name="fk_alias_moves_version",
        onupdate="CASCADE",
    ),
    Index("ix_alias_moves_version", "project_id", "model", "number"),
)
