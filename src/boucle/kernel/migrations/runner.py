"""Brings a database to the newest schema: linear revisions, all in one transaction, under the writers' lock."""

import sqlite3
from pathlib import Path
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from boucle.kernel.database import lock_path
from boucle.kernel.engines import connect_engine, explain, raw_of, use_wal
from boucle.kernel.locks import turn
from boucle.kernel.points import reach
from boucle.kernel.schema import REVISIONS, is_current, version_of

_FOLDER: Final = Path(__file__).parent


def migrate(path: Path) -> None:
    """Bring the file to the newest schema, making it if it is missing.

    A crash leaves the old schema or the new one. Harmless if another process does the same at once.
    """
    try:
        with turn(lock_path(path)):
            use_wal(path)
            if not is_current(path):
                _upgrade(path)
    except (sqlite3.Error, DBAPIError) as error:
        raise explain(error, path) from error


def scripts() -> ScriptDirectory:
    """The revisions on disk."""
    return ScriptDirectory(str(_FOLDER), version_locations=[str(_FOLDER / "versions")])


def _upgrade(path: Path) -> None:
    engine = connect_engine(path, mode="write")
    try:
        with engine.connect() as connection:
            raw = raw_of(connection)
            # Without a transaction of SQLAlchemy's, Alembic's batch operations would make one, and commit ours with it.
            connection.begin()
            raw.execute("BEGIN IMMEDIATE")
            try:
                reach("migration.begun")
                _run(connection, version_of_connection=version_of(path))
                reach("migration.ready")
                raw.execute("COMMIT")
                reach("migration.committed")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise
    finally:
        engine.dispose()


def _run(connection: Connection, *, version_of_connection: str | None) -> None:
    context = MigrationContext.configure(connection)
    directory = scripts()
    pending = directory.iterate_revisions(REVISIONS[-1], version_of_connection or "base")
    with Operations.context(context):
        for script in reversed(list(pending)):
            script.module.upgrade()
            context.stamp(directory, script.revision)
            reach("migration.stepped")
