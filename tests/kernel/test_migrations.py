import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from boucle.kernel.database import metadata
from boucle.kernel.errors import Conflict
from boucle.kernel.migrations.draft import draft, import_tables
from boucle.kernel.migrations.runner import migrate, scripts
from boucle.kernel.schema import REVISIONS, is_current, version_of
from boucle.kernel.store import Store


def test_the_migrated_schema_is_what_the_slices_declare() -> None:
    assert "op." not in draft()


def test_every_declared_index_is_made(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        query = text("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        made = store.read(lambda connection: set(connection.execute(query).scalars()))
    import_tables()
    assert made == {index.name for table in metadata.tables.values() for index in table.indexes}


def test_the_revisions_are_one_line_that_ends_at_the_newest() -> None:
    directory = scripts()
    assert directory.get_heads() == [REVISIONS[-1]]
    assert tuple(script.revision for script in reversed(list(directory.walk_revisions()))) == REVISIONS


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "boucle.db"
    assert version_of(file) is None
    assert not is_current(file)
    assert not file.exists()
    migrate(file)
    migrate(file)
    assert version_of(file) == REVISIONS[-1]
    assert is_current(file)


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write(lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    before = (tmp_path / "boucle.db").read_bytes()
    with pytest.raises(Conflict, match="9999") as raised:
        Store.open(tmp_path)
    assert "pip install --upgrade boucle" in (raised.value.hint or "")
    assert (tmp_path / "boucle.db").read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "boucle.db"
    broken = scripts()
    revision = broken.get_revision(REVISIONS[-1])
    assert revision is not None
    upgrade = revision.module.upgrade

    def fail_at_the_end() -> None:
        upgrade()
        raise KeyboardInterrupt

    monkeypatch.setattr(revision.module, "upgrade", fail_at_the_end)
    monkeypatch.setattr("boucle.kernel.migrations.runner.scripts", lambda: broken)
    with pytest.raises(KeyboardInterrupt):
        migrate(file)
    assert version_of(file) is None
    monkeypatch.undo()
    migrate(file)
    assert is_current(file)


def test_a_store_that_is_up_to_date_opens_without_the_migration_library(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    script = (
        "import sys; from pathlib import Path; from boucle.kernel.store import Store\n"
        f"Store.open(Path({str(tmp_path)!r})).close()\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('alembic', 'mako')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
