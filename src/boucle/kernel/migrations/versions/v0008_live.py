"""The live loop: windows of other spans than days, how far a log is read, jobs, who holds a stream."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Widen what there is, make the new tables."""
    with op.batch_alter_table("monitoring_windows") as table:
        table.alter_column(
            "day", existing_type=sa.String(length=10), type_=sa.String(length=32), existing_nullable=False
        )
        table.add_column(sa.Column("until", sa.String(length=32), nullable=True))
    op.create_table(
        "monitoring_cursors",
        sa.Column("project_id", sa.String(length=128), nullable=False),
        sa.Column("stream", sa.String(length=128), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "stream", name="pk_monitoring_cursors"),
    )
    op.add_column("loop_streams", sa.Column("done_window", sa.String(length=32), nullable=True))
    op.add_column("loop_streams", sa.Column("holder", sa.String(length=200), nullable=True))
    op.add_column("loop_streams", sa.Column("renewed", sa.Integer(), nullable=True))
    op.create_table(
        "loop_jobs",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_loop_jobs"),
    )
    op.create_index("ix_loop_jobs_stream", "loop_jobs", ["stream"])
