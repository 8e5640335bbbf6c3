"""Which schema a database has, without the migration library: a command that only checks it must start fast."""

import sqlite3
from pathlib import Path
from typing import Final

from boucle.kernel.engines import ask_file, explain
from boucle.kernel.errors import NewerStore

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
"""Every revision of the schema, oldest first; the files are in `boucle.kernel.migrations.versions`."""


def is_current(path: Path) -> bool:
    """Whether the file has the newest schema. NewerStore if a newer Boucle wrote it."""
    version = version_of(path)
    if version is not None and version not in REVISIONS:
        raise NewerStore(
            f"store {str(path.parent)!r} has schema {version}, but this Boucle knows none after {REVISIONS[-1]}",
            hint="upgrade Boucle: pip install --upgrade boucle",
            details={"found": version, "known": list(REVISIONS)},
        )
    return version == REVISIONS[-1]


def version_of(path: Path) -> str | None:
    """The revision in the file; None if there is no file or it has no schema yet."""
    if not path.exists():
        return None
    try:
        return ask_file(path, _version)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _version(raw: sqlite3.Connection) -> str | None:
    if not raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None
