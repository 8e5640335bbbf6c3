"""Prints the body of the next revision, for its author to check: what the slices declare beyond the newest revision.

python -m boucle.kernel.migrations.draft
"""

import pkgutil
import sys
import tempfile
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext

from boucle.kernel.database import Database, metadata
from boucle.kernel.migrations.runner import migrate

_PACKAGE: Final = Path(__file__).parents[2]


def import_tables() -> None:
    """Import the `store` module of every room, and the kernel's pins, so that all tables stand in `metadata`."""
    import_module("boucle.kernel.care.pins")
    for room in pkgutil.iter_modules([str(_PACKAGE)], "boucle."):
        module = f"{room.name}.store"
        if room.ispkg and find_spec(module) is not None:
            import_module(module)


def draft() -> str:
    """Python code of the operations that bring the newest revision to what is declared; `pass` if there is nothing."""
    import_tables()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # An index on an expression cannot be compared; a test looks for every index by its name.
        warnings.filterwarnings("ignore", ".*expression-based index")
        path = Path(folder) / "boucle.db"
        migrate(path)
        database = Database.open(path)
        try:
            operations = database.read(
                lambda connection: produce_migrations(
                    MigrationContext.configure(connection, opts={"compare_type": True}), metadata
                )
            ).upgrade_ops
        finally:
            database.close()
    assert operations is not None
    return render_python_code(operations)


if __name__ == "__main__":
    sys.stdout.write(draft() + "\n")
