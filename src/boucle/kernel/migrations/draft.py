"""Prints the body of the next revision, for its author to check: what the slices declare beyond the newest revision.

python -m boucle.kernel.migrations.draft
"""

import pkgutil
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import Final

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext

from boucle.kernel.database import Database, metadata
from boucle.kernel.migrations.runner import migrate

_PACKAGE: Final = Path(__file__).parents[2]


def import_tables() -> None:
    """Import every module that declares tables, `store` and `tables` of any room, so that all stand in `metadata`."""
    import_module("boucle.kernel.care.pins")
    for module in pkgutil.walk_packages([str(_PACKAGE)], "boucle."):
        if module.name.endswith((".store", ".tables")):
            import_module(module.name)


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
