import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text

from boucle.kernel.database import metadata
from boucle.kernel.errors import Conflict
from boucle.kernel.migrations.draft import draft, import_tables
from boucle.kernel.migrations.runner import migrate, scripts
from boucle.kernel.schema import REVISIONS, is_current, version_of
from boucle.kernel.store import Store
from boucle.models.store import aliases_of, all_moves
from boucle.models.tables import alias_moves, model_versions, registered_models


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


def test_an_alias_that_was_taken_away_before_a_rename_stays_so(tmp_path: Path) -> None:
    """As 0010 left it: a was renamed to b and to c, `live` was taken away under each name, `used` set since."""
    with Store.open(tmp_path) as store:
        store.write(_renamed_as_0010)
    with Store.open(tmp_path) as store:
        assert store.read(lambda conn: aliases_of(conn, "p", ["c"])) == {"c": {"used": 1}}
        for alias, numbers in (("live", [1, None, 1, None]), ("used", [1, None, 1, 1])):
            assert [move.number for move in store.read(lambda conn: all_moves(conn, "p", "c", alias))] == numbers  # noqa: B023
        assert store.read(lambda conn: all_moves(conn, "p", "taken", "live"))


def _renamed_as_0010(conn: Connection) -> None:
    for name, renamed_to in (("a", "b"), ("b", "c"), ("c", None), ("taken", None)):
        values = {"project_id": "p", "name": name, "created_ms": 0, "updated_ms": 0, "last_number": 1}
        conn.execute(insert(registered_models).values(**values, renamed_to=renamed_to))
    texts = dict.fromkeys(("bundle_digest", "run_id", "author", "created_at", "note", "stage"), "")
    conn.execute(insert(model_versions).values(project_id="p", model="c", number=1, updated_ms=0, **texts))
    moves = [
        ("c", "live", 1, 1, 1),
        ("a", "live", 2, None, 2),
        ("c", "live", 3, 1, 3),
        ("b", "live", 4, None, 4),
        ("c", "used", 1, 1, 1),
        ("a", "used", 2, None, 2),
        ("c", "used", 2, 1, 3),
        ("c", "used", 3, 1, 4),
        ("taken", "live", 1, None, 1),
    ]
    for model, alias, sequence, number, day in moves:
        at = f"2026-01-0{day}T00:00:00.000000+00:00"
        values = {"project_id": "p", "model": model, "alias": alias, "sequence": sequence, "number": number}
        conn.execute(insert(alias_moves).values(**values, actor="", reason="", moved_at=at, effective_at=at))
    conn.execute(text("ALTER TABLE run_metrics DROP COLUMN rises"))
    conn.execute(text("UPDATE alembic_version SET version_num = '0010'"))


def test_a_store_that_is_up_to_date_opens_without_the_migration_library(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    script = (
        "import sys; from pathlib import Path; from boucle.kernel.store import Store\n"
        f"Store.open(Path({str(tmp_path)!r})).close()\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('alembic', 'mako')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
