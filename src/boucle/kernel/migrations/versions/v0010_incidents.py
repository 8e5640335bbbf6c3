"""Incidents with their evidence, silences, and what is on its way to people."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alert_memory",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("stream", sa.String(length=128), nullable=False),
        sa.Column("memory", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "stream", name="pk_alert_memory"),
    )
    op.create_table(
        "incidents",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(length=128), nullable=False),
        sa.Column("closed_at", sa.String(length=32), nullable=True),
        sa.Column("incident", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_incidents"),
    )
    op.create_table(
        "incident_evidence",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("incident", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("window", sa.String(length=32), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "incident", "window", name="pk_incident_evidence"),
    )
    op.create_table(
        "alert_silences",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("until", sa.String(length=32), nullable=False),
        sa.Column("silence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_alert_silences"),
    )
    op.create_table(
        "alert_outbox",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("route", sa.String(length=128), nullable=False),
        sa.Column("incident", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_alert_outbox"),
        sa.UniqueConstraint("id", name="uq_alert_outbox_id"),
    )
    op.create_index("ix_alert_outbox_next", "alert_outbox", ["project_id", "next_ms"])
    op.create_table(
        "alert_told",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("incident", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("route", sa.String(length=128), nullable=False),
        sa.Column("is_over", sa.Integer(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "incident", "route", name="pk_alert_told"),
    )
