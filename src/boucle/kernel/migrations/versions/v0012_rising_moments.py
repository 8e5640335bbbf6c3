"""Whether the moments of a metric's points are known to rise with their steps; of those that are there it is not."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column."""
    op.add_column("run_metrics", sa.Column("rises", sa.Boolean(), nullable=False, server_default=sa.false()))
