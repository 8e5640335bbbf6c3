"""Aliases that were taken away before their model was renamed: those moves stayed under the old name."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_MOVES = sa.text(
    "SELECT * FROM alias_moves WHERE project_id = :project AND alias = :alias AND model IN (:old, :new) "
    "ORDER BY moved_at, sequence"
)
_AWAY = sa.text("DELETE FROM alias_moves WHERE project_id = :project AND alias = :alias AND model IN (:old, :new)")
_LEFT = sa.text(
    "SELECT DISTINCT moves.project_id, moves.model, moves.alias FROM alias_moves AS moves "
    "JOIN registered_models AS names ON names.project_id = moves.project_id AND names.name = moves.model "
    "WHERE names.renamed_to IS NOT NULL ORDER BY 1, 2, 3"
)
_RENAMED = sa.text("SELECT project_id, name, renamed_to FROM registered_models WHERE renamed_to IS NOT NULL")


def upgrade() -> None:
    """Bring each such move to its model's name of now, and number the alias's moves as they were made.

    A name that another model has since is left alone: whose moves those are cannot be told.
    """
    conn = op.get_bind()
    renamed = {(row.project_id, row.name): row.renamed_to for row in conn.execute(_RENAMED)}
    for project, old, alias in conn.execute(_LEFT).all():
        new = renamed[project, old]
        while (project, new) in renamed:
            new = renamed[project, new]
        values = {"project": project, "alias": alias, "old": old, "new": new}
        moves = conn.execute(_MOVES, values).mappings().all()
        conn.execute(_AWAY, values)
        for sequence, move in enumerate(moves, start=1):
            told = {**move, "model": new, "sequence": sequence}
            names = ", ".join(told)
            marks = ", ".join(f":{name}" for name in told)
            conn.execute(sa.text(f"INSERT INTO alias_moves ({names}) VALUES ({marks})"), told)
