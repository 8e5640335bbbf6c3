"""fsck names each planted damage, and is silent about a sound store."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from boucle.kernel import audit, trees
from boucle.kernel.care.fsck import fsck
from boucle.kernel.care.records import StoreProblem
from boucle.kernel.care.references import names_a_blob
from boucle.kernel.care.repair import anchor_audit_head, repair
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.errors import Refused, Unavailable
from boucle.kernel.migrations.draft import import_tables
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.runs.api import record_run


def test_a_database_that_cannot_be_opened_now_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "boucle.db").mkdir()
    with pytest.raises(Unavailable, match="unable to open"):
        look(tmp_path)


def look(home: Path) -> list[StoreProblem]:
    return fsck(home, [], Silent())


def kinds(home: Path) -> list[tuple[str, str]]:
    return [(one.kind, one.object) for one in look(home)]


def spoil(file: Path, at: int = -1) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)


MODEL = digest_bytes(b"\x00model")


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """A store with a pinned-like row that needs a tree, a written-out copy of it, a record in the log."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model").write_bytes(b"\x00model")
    tree = trees.freeze(store.blobs, folder)
    trees.materialise(store.blobs, tree, store.home / "serving" / "bundles" / tree)
    record_run(store, project_id="p", experiment="e", name="n", params={}, metrics={}, bundle_digest=tree)
    for subject in ("one", "two"):
        store.write(
            lambda c, subject=subject: audit.append(  # type: ignore[misc]
                c, project_id="p", actor="a", action="x", subject=subject, details={}, at=store.clock.now()
            )
        )
    assert look(store.home) == []
    return store


def tree_of(store: Store) -> str:
    return str(store.read(lambda c: c.execute(text("SELECT bundle_digest FROM runs")).scalar()))


def run_of(store: Store) -> str:
    return str(store.read(lambda c: c.execute(text("SELECT id FROM runs")).scalar()))


def test_it_is_silent_about_a_sound_store_that_is_open_or_closed_and_changes_nothing(filled: Store) -> None:
    filled.close()
    before = {path: path.read_bytes() for path in filled.home.rglob("*") if path.is_file()}
    assert look(filled.home) == []
    assert before.items() <= {path: path.read_bytes() for path in filled.home.rglob("*") if path.is_file()}.items()


def test_a_damaged_blob_is_named_with_what_needs_it_and_set_aside(filled: Store) -> None:
    spoil(filled.blobs.path(MODEL))
    (problem,) = look(filled.home)
    assert (problem.kind, problem.object) == ("blob_damaged", MODEL)
    assert problem.needed_by == [f"model of the tree {tree_of(filled)[:12]}"]
    assert "only a backup has it" in problem.message
    assert problem.next == "boucle fsck --repair && boucle restore FILE"
    (moved,) = repair(filled.home, [problem], Silent())
    assert (moved.kind, moved.repaired, moved.next) == ("blob_missing", False, "boucle restore FILE")
    assert (filled.home / "damaged" / MODEL).exists()
    assert kinds(filled.home) == [("blob_missing", MODEL)]
    filled.blobs.put(b"\x00model")
    assert look(filled.home) == []


def test_a_lost_blob_that_a_step_made_is_made_again_by_running(filled: Store) -> None:
    (filled.home / "cache" / f"{'a' * 64}.json").write_text(f'"{MODEL}"')
    filled.blobs.path(MODEL).unlink()
    (problem,) = look(filled.home)
    assert (problem.kind, problem.next) == ("blob_missing", "boucle run")


def test_a_lost_tree_is_named_by_its_row(filled: Store) -> None:
    tree = tree_of(filled)
    filled.blobs.path(Digest(tree)).unlink()
    (problem,) = look(filled.home)
    assert (problem.kind, problem.object, problem.needed_by) == (
        "blob_missing",
        tree,
        [f"runs {run_of(filled)} (bundle_digest)"],
    )


def edit(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.home / "boucle.db")) as raw:
        raw.execute(statement)
        raw.commit()


def cut_file(store: Store) -> None:
    store.close()
    file = store.home / "boucle.db"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garbage_database(store: Store) -> None:
    store.close()
    (store.home / "boucle.db").write_bytes(b"this is no database, whatever it is called" * 100)


def no_database(store: Store) -> None:
    store.close()
    (store.home / "boucle.db").unlink()


def wrong_page(store: Store) -> None:
    store.close()
    with (store.home / "boucle.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096))


def old_temporary(store: Store) -> None:
    file = store.home / ".audit-head.json.abc"
    file.touch()
    os.utime(file, (1, 1))


def stray_blob(store: Store) -> None:
    (store.blobs.root / "aa").mkdir()
    (store.blobs.root / "aa" / "x").touch()


def file_for_folder(store: Store) -> None:
    shutil.rmtree(store.home / "serving")
    (store.home / "serving").touch()


def folder_for_head(store: Store) -> None:
    store.audit_head.path.unlink()
    store.audit_head.path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Store], object], tuple[str, str]]] = {
    "garbage": (garbage_database, ("database_damaged", "boucle.db")),
    "cut off": (cut_file, ("database_damaged", "boucle.db")),
    "a page": (wrong_page, ("database_damaged", "boucle.db")),
    "no database": (no_database, ("database_missing", "boucle.db")),
    "no table": (lambda s: edit(s, "DROP TABLE audit_log"), ("database_damaged", "boucle.db")),
    "newer": (lambda s: edit(s, "UPDATE alembic_version SET version_num = '9999'"), ("schema_newer", "boucle.db")),
    "no parent": (
        lambda s: edit(s, "INSERT INTO run_tags VALUES (9, 'n', 'v')"),
        ("row_without_parent", "run_tags row 1"),
    ),
    "edited log": (
        lambda s: edit(s, "UPDATE audit_log SET actor = 'b' WHERE sequence = 1"),
        ("audit_broken", "audit record 1"),
    ),
    "cut log": (lambda s: edit(s, "DELETE FROM audit_log WHERE sequence = 2"), ("audit_broken", "audit record 2")),
    "lost head": (lambda s: s.audit_head.path.unlink(), ("audit_head_missing", "audit-head.json")),
    "spoilt head": (lambda s: s.audit_head.path.write_text("{"), ("audit_head_missing", "audit-head.json")),
    "folder": (
        lambda s: spoil(s.home / "serving" / "bundles" / tree_of(s) / "model"),
        ("folder_damaged", "serving/bundles/"),
    ),
    "temporary": (old_temporary, ("temporary_left", ".audit-head.json.abc")),
    "stray": (lambda s: (s.home / "notes.txt").touch(), ("stray", "notes.txt")),
    "stray blob": (stray_blob, ("stray", "blobs/aa/x")),
    "a file for a folder": (file_for_folder, ("misplaced", "serving")),
    "open": (lambda s: s.home.chmod(0o755), ("open_to_others", ".")),
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_each_planted_damage_is_named(filled: Store, name: str) -> None:
    plant, (kind, named) = DAMAGE[name]
    plant(filled)
    problems = look(filled.home)
    assert {one.kind for one in problems} == {kind}
    assert problems[0].object.startswith(named)
    assert kind == "stray" or all(one.next for one in problems)


@pytest.mark.parametrize("name", ["folder", "temporary", "open"])
def test_what_is_made_again_is_mended(filled: Store, name: str) -> None:
    DAMAGE[name][0](filled)
    assert all(one.repaired for one in repair(filled.home, look(filled.home), Silent()))
    assert look(filled.home) == []


def test_a_damaged_blob_that_nothing_needs_is_mended_by_setting_it_aside(filled: Store) -> None:
    spoil(filled.blobs.path(filled.blobs.put(b"garbage")))
    assert [one.repaired for one in repair(filled.home, look(filled.home), Silent())] == [True]
    assert look(filled.home) == []


def test_a_folder_for_the_head_is_moved_before_the_head_is_made_again(filled: Store) -> None:
    folder_for_head(filled)
    first, second = look(filled.home)
    assert (first.kind, second.kind) == ("misplaced", "audit_head_missing")
    assert second.next == f"{first.next} && boucle fsck --anchor-audit-head"


def test_a_lost_head_is_made_again_by_asking_only_and_the_log_tells(filled: Store) -> None:
    with pytest.raises(Refused, match="not lost"):
        anchor_audit_head(filled, project_id="p", actor="person:ada")
    filled.audit_head.path.unlink()
    assert not any(one.repaired for one in repair(filled.home, look(filled.home), Silent()))
    anchor_audit_head(filled, project_id="p", actor="person:ada")
    assert look(filled.home) == []
    assert audit.verify(filled).problems == []
    last = filled.read(lambda c: audit.records(c, project_id="p"))[-1]
    assert (last.action, last.actor) == ("audit.anchor", "person:ada")


def test_no_head_is_made_for_a_log_that_was_changed(filled: Store) -> None:
    filled.audit_head.path.unlink()
    edit(filled, "UPDATE audit_log SET actor = 'b' WHERE sequence = 1")
    with pytest.raises(Refused, match="was changed"):
        anchor_audit_head(filled, project_id="p", actor="person:ada")
    assert not filled.audit_head.path.exists()


def test_every_column_that_looks_like_a_digest_is_known_to_name_a_blob_or_not() -> None:
    import_tables()
    named = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if names_a_blob(column.name)
    }
    assert named == {
        "artifacts.digest",
        "dataset_versions.digest",
        "dataset_versions.profile_digest",
        "incident_evidence.evidence_digest",
        "model_versions.bundle_digest",
        "model_versions.dataset_digest",
        "model_versions.evaluation_digest",
        "monitoring_labels.digest",
        "monitoring_windows.predictions_digest",
        "monitoring_windows.profile_digest",
        "permits.bundle_digest",
        "permits.evaluation_digest",
        "pins.digest",
        "reviews.bundle_digest",
        "reviews.evaluation_digest",
        "runs.bundle_digest",
        "runs.dataset_digest",
        "signatures.bundle_digest",
        "signatures.statement_digest",
        "waivers.bundle_digest",
        "waivers.evaluation_digest",
    }, "a column that names a kept blob belongs into this list; another one into references.NO_BLOBS"
