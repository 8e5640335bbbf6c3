"""The registry of clients: models with tags, versions of any source, stages; reviews, waivers, changes of policies."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_VERSION = (
    "project_id, model, number, bundle_digest, dataset_digest, evaluation_digest, run_id, author, created_at, note"
)
_MOVE = "project_id, model, alias, sequence, number, permit_id, actor, reason, moved_at, effective_at"


def upgrade() -> None:
    """Make the new tables, and those of versions and moves again with all that is in them."""
    op.rename_table("alias_moves", "alias_moves_before")
    op.rename_table("model_versions", "model_versions_before")
    _registry()
    _governance()
    # What stands in the old tables was written at moments; the newer tables count milliseconds.
    milliseconds = "CAST(ROUND((julianday({}) - 2440587.5) * 86400000) AS INTEGER)"
    made, first = milliseconds.format("created_at"), milliseconds.format("MIN(created_at)")
    last = milliseconds.format("MAX(created_at)")
    for statement in (
        "INSERT INTO registered_models (project_id, name, created_ms, updated_ms, last_number) "
        f"SELECT project_id, model, {first}, {last}, MAX(number) FROM model_versions_before GROUP BY project_id, model",
        f"INSERT INTO model_versions ({_VERSION}, stage, updated_ms) "
        f"SELECT {_VERSION}, 'None', {made} FROM model_versions_before",
        f"INSERT INTO alias_moves ({_MOVE}) SELECT {_MOVE} FROM alias_moves_before",
    ):
        op.execute(statement)
    op.drop_table("alias_moves_before")
    op.drop_table("model_versions_before")


def _registry() -> None:
    op.create_table(
        "registered_models",
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.Column("renamed_to", sa.String(length=256), nullable=True),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_registered_models"),
    )
    op.create_table(
        "registered_model_tags",
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "model"],
            ["registered_models.project_id", "registered_models.name"],
            name="fk_registered_model_tags_model",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "model", "name", name="pk_registered_model_tags"),
    )
    op.create_table(
        "model_versions",
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bundle_digest", sa.String(length=64), nullable=False),
        sa.Column("dataset_digest", sa.String(length=64), nullable=True),
        sa.Column("evaluation_digest", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("run_link", sa.Text(), nullable=True),
        sa.Column("model_id", sa.String(length=64), nullable=True),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id", "model"],
            ["registered_models.project_id", "registered_models.name"],
            name="fk_model_versions_model",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "model", "number", name="pk_model_versions"),
    )
    op.create_index("ix_model_versions_bundle", "model_versions", ["project_id", "model", "bundle_digest"])
    op.create_index("ix_model_versions_run", "model_versions", ["project_id", "run_id"])
    op.create_index("ix_model_versions_updated", "model_versions", ["project_id", "updated_ms"])
    op.create_table(
        "model_version_tags",
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "model", "number"],
            ["model_versions.project_id", "model_versions.model", "model_versions.number"],
            name="fk_model_version_tags_version",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "model", "number", "name", name="pk_model_version_tags"),
    )
    op.create_table(
        "alias_moves",
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("permit_id", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.String(length=32), nullable=False),
        sa.Column("effective_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "model", "number"],
            ["model_versions.project_id", "model_versions.model", "model_versions.number"],
            name="fk_alias_moves_version",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "model", "alias", "sequence", name="pk_alias_moves"),
        sa.UniqueConstraint("permit_id", name="uq_alias_moves_permit"),
    )
    op.create_index("ix_alias_moves_version", "alias_moves", ["project_id", "model", "number"])


def _governance() -> None:
    with op.batch_alter_table("policies") as table:
        table.alter_column("policy_digest", existing_type=sa.String(length=64), nullable=True)
        table.alter_column("policy", existing_type=sa.Text(), nullable=True)
        table.add_column(sa.Column("set_by", sa.String(length=200), nullable=True))
    op.add_column("permits", sa.Column("waivers", sa.JSON(), nullable=True))
    for made in ("runs", "logged_models"):
        op.add_column(made, sa.Column("created_by", sa.String(length=200), nullable=True))
    op.create_table(
        "policy_changes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("base", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.String(length=32), nullable=False),
        sa.Column("entered_at", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_policy_changes"),
    )
    op.create_index("ix_policy_changes_model", "policy_changes", ["project_id", "model"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("bundle_digest", sa.String(length=64), nullable=True),
        sa.Column("evaluation_digest", sa.String(length=64), nullable=True),
        sa.Column("change_id", sa.String(length=64), nullable=True),
        sa.Column("reviewer", sa.String(length=200), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reviewed_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
    )
    op.create_index("ix_reviews_model", "reviews", ["project_id", "model"])
    op.create_table(
        "waivers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bundle_digest", sa.String(length=64), nullable=False),
        sa.Column("evaluation_digest", sa.String(length=64), nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("gate", sa.String(length=300), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.String(length=200), nullable=False),
        sa.Column("granted_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_waivers"),
    )
    op.create_index("ix_waivers_model", "waivers", ["project_id", "model"])
