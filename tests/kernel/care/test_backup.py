"""A backup holds what was acknowledged before it began; what comes back is that store, or nothing."""

import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from boucle.kernel import audit, trees
from boucle.kernel.care.archive import Contents
from boucle.kernel.care.backup import backup, verify_backup
from boucle.kernel.care.pins import add
from boucle.kernel.care.restore import restore
from boucle.kernel.care.turns import room_beside
from boucle.kernel.digests import Digest, canonical_json, digest_bytes
from boucle.kernel.errors import Conflict, Damaged, InvalidInput, NotFound
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store

AT = datetime(2013, 3, 1, tzinfo=UTC)


def note(store: Store, subject: str) -> None:
    store.write(lambda c: audit.append(c, project_id="p", actor="a", action="note", subject=subject, details={}, at=AT))


def save(home: Path, file: Path, *, force: bool = False) -> Contents:
    return backup(
        home, file, whole_bytes=lambda s: s.stat().st_size, force=force, written_by="0", made_at=AT, progress=Silent()
    )


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """A store with a record, a named tree, garbage, a result, a traffic file and a log segment."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model").write_bytes(b"\x00model")
    note(store, trees.freeze(store.blobs, folder))
    store.blobs.put(b"garbage")
    result = store.blobs.put(b"result")
    (store.home / "cache" / f"{'a' * 64}.json").write_text(f'["{result}"]')
    served = store.home / "serving" / "flights"
    (served / "log").mkdir(parents=True)
    (served / "traffic.json").write_text("{}")
    (served / "server.log").write_text("ready")
    (served / "log" / "segment-00000001.log").write_bytes(b"frames")
    return store


def test_what_is_needed_comes_back_byte_for_byte(filled: Store, tmp_path: Path) -> None:
    contents = save(filled.home, tmp_path / "b.tar")
    home = tmp_path / "new" / "home"
    assert restore(tmp_path / "b.tar", home, Silent()) == contents
    restored = {str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()}
    assert restored == {entry.path for entry in contents.files}
    assert filled.blobs.path(digest_bytes(b"garbage")).relative_to(filled.home).as_posix() not in restored
    for name in restored - {"boucle.db", "audit-head.json"}:
        assert (home / name).read_bytes() == (filled.home / name).read_bytes()
    assert home.stat().st_mode & 0o777 == 0o700
    with Store.open(home) as again:
        assert audit.verify(again) == audit.verify(filled)
        note(again, "goes on")
        assert audit.verify(again).problems == []
    assert [p.name for p in home.parent.iterdir()] == ["home"]
    with tarfile.open(tmp_path / "b.tar") as plain:
        assert plain.getnames()[1:] == [entry.path for entry in contents.files]


def test_evidence_against_the_log_is_kept_in_a_backup(filled: Store, tmp_path: Path) -> None:
    note(filled, "second")
    with closing(sqlite3.connect(filled.home / "boucle.db")) as raw:
        raw.execute("DELETE FROM audit_log WHERE sequence = 2")
        raw.commit()
    save(filled.home, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "new", Silent())
    with Store.open(tmp_path / "new") as again:
        assert [one.kind for one in audit.verify(again).problems] == ["cut_tail"]


def test_an_existing_file_is_replaced_by_force_only(filled: Store, tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        save(filled.home, file)
    assert file.read_text() == "mine"
    save(filled.home, file, force=True)
    assert verify_backup(file, Silent()).files
    with pytest.raises(InvalidInput, match="in the store itself"):
        save(filled.home, filled.home / "b.tar")


def test_a_home_that_holds_anything_is_refused_with_the_command_that_moves_it(filled: Store, tmp_path: Path) -> None:
    save(filled.home, tmp_path / "b.tar")
    with pytest.raises(Conflict, match="is not empty") as raised:
        restore(tmp_path / "b.tar", filled.home, Silent())
    assert f"mv '{filled.home}' '{filled.home}.before' && boucle restore" in (raised.value.hint or "")
    empty = tmp_path / "empty"
    empty.mkdir()
    restore(tmp_path / "b.tar", empty, Silent())
    assert (empty / "boucle.db").exists()


def test_a_needed_blob_with_other_bytes_stops_the_backup(filled: Store, tmp_path: Path) -> None:
    file = filled.blobs.path(digest_bytes(b"\x00model"))
    file.chmod(0o600)
    file.write_bytes(b"\x00madel")
    with pytest.raises(Damaged, match="is damaged"):
        save(filled.home, tmp_path / "b.tar")
    assert [p.name for p in tmp_path.iterdir() if "b.tar" in p.name] == []


def test_an_older_schema_is_brought_up_when_it_is_opened_and_a_newer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(crafted(listing(DATABASE, schema="9999"), [(member("boucle.db"), b"")]))
    with pytest.raises(Conflict, match="9999") as raised:
        restore(tmp_path / "b.tar", tmp_path / "new", Silent())
    assert "pip install --upgrade boucle" in (raised.value.hint or "")
    with tarfile.open(Path(__file__).parents[2] / "golden" / "home-0001.tar.xz") as tar:
        tar.extractall(tmp_path / "golden", filter="tar")
    save(tmp_path / "golden" / ".boucle", tmp_path / "old.tar")
    restore(tmp_path / "old.tar", tmp_path / "new", Silent())
    with Store.open(tmp_path / "new") as again:
        assert audit.verify(again).problems == []
        assert again.read(lambda c: c.execute(text("SELECT count(*) FROM pins")).scalar()) == 0


def test_only_a_regular_file_is_replaced_or_read(filled: Store, tmp_path: Path) -> None:
    pipe, link, inward = tmp_path / "pipe", tmp_path / "link", tmp_path / "inward"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    inward.symlink_to(filled.home)
    for target in (pipe, link, Path("/dev/full")):
        with pytest.raises(InvalidInput, match="no regular file"):
            save(filled.home, target, force=True)
        with pytest.raises(InvalidInput, match="no regular file"):
            verify_backup(target, Silent())
    with pytest.raises(InvalidInput, match="in the store itself"):
        save(filled.home, inward / "b.tar")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "old.tar").write_bytes(b"old")
    (tmp_path / "newest").symlink_to(tmp_path / "old.tar")
    save(filled.home, tmp_path / "newest", force=True)
    assert (tmp_path / "newest").is_symlink()
    assert verify_backup(tmp_path / "old.tar", Silent()).files


def test_a_backup_of_a_store_that_lost_something_names_it_and_replaces_no_whole_one(
    filled: Store, tmp_path: Path
) -> None:
    blob = filled.blobs.put(b"pinned")
    add(filled, "p", blob, reason="r", actor="a")
    save(filled.home, tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    filled.blobs.path(blob).unlink()
    with pytest.raises(Damaged, match="was not replaced") as raised:
        save(filled.home, tmp_path / "b.tar", force=True)
    assert raised.value.details == {"missing": [blob]}
    assert (tmp_path / "b.tar").read_bytes() == whole
    with pytest.raises(Damaged, match="holds the rest"):
        save(filled.home, tmp_path / "rest.tar")
    assert verify_backup(tmp_path / "rest.tar", Silent()).files


def test_a_mounted_folder_is_refused_before_anything_is_written(filled: Store, tmp_path: Path) -> None:
    save(filled.home, tmp_path / "b.tar")
    home = tmp_path / "volume"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", home], capture_output=True, check=False).returncode != 0:
        pytest.skip("this account may not mount a disk")
    try:
        with pytest.raises(Conflict, match="is a mounted disk or volume") as raised:
            restore(tmp_path / "b.tar", home, Silent())
        assert f"--home '{home / 'store'}'" in (raised.value.hint or "")
        restore(tmp_path / "b.tar", home / "store", Silent())
        assert (home / "store" / "boucle.db").exists()
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)


def test_room_is_made_again_by_who_comes_while_another_leaves(tmp_path: Path) -> None:
    target, made = tmp_path / "b.tar", Counter[str]()
    folder = tmp_path / ".b.tar.being-made"
    folder.mkdir()
    (folder / "left").write_text("by a killed process")

    def make(name: str) -> None:
        for _ in range(300):
            try:
                with room_beside(target) as room:
                    (room / "file").write_text(name)
                    made[name] += 1
            except Conflict:
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, "abcd"))
    assert made.total() > 0
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_cut_or_added_byte_is_refused_with_nothing_changed(
    filled: Store, tmp_path: Path, data: st.DataObject
) -> None:
    whole = tmp_path / "whole.tar"
    if not whole.exists():
        save(filled.home, whole)
    damaged = bytearray(whole.read_bytes())
    at = data.draw(st.integers(0, len(damaged) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "add"])):
        case "flip":
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del damaged[at:]
        case "add":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=600))
    if bytes(damaged) == whole.read_bytes():
        return
    broken = tmp_path / "broken.tar"
    broken.write_bytes(damaged)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Damaged, match="nothing was changed"):
        restore(broken, tmp_path / "new", Silent())
    assert sorted(tmp_path.iterdir()) == before


def crafted(listing: bytes, members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar with any list and any members, with a fitting digest in its first name."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        first = tarfile.TarInfo(f"boucle-backup-{digest_bytes(listing)}.json")
        first.size, first.mode = len(listing), 0o600
        archive.addfile(first, BytesIO(listing))
        for member, data in members:
            archive.addfile(member, BytesIO(data))
    return out.getvalue()


def listing(*files: tuple[str, int, str], **changed: object) -> bytes:
    entries = [{"path": path, "size": size, "digest": digest} for path, size, digest in files]
    told = {"format": 1, "boucle": "0", "schema": "0002", "made_at": AT, "files": entries}
    return canonical_json(told | changed)


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = size, kind, link, 0o600
    return info


NOTHING = digest_bytes(b"")
DATABASE = ("boucle.db", 0, NOTHING)
EVIL = [
    "../evil",
    "/etc/cron.d/evil",
    "blobs/../../evil",
    "serving/../../traffic.json",
    "serving/../traffic.json",
    "cache/work/x",
    "blobs/aa/" + "a" * 64,
    "boucle.db-wal",
    "",
]


@pytest.mark.parametrize(
    "archive",
    [
        *(
            crafted(listing(DATABASE, (path, 0, NOTHING)), [(member("boucle.db"), b""), (member(path), b"")])
            for path in EVIL
        ),
        crafted(listing(DATABASE), [(member("boucle.db", kind=tarfile.SYMTYPE, link="/etc/passwd"), b"")]),
        crafted(listing(DATABASE), [(member("boucle.db", kind=tarfile.LNKTYPE, link="/etc/passwd"), b"")]),
        crafted(listing(DATABASE), [(member("boucle.db", kind=tarfile.CHRTYPE), b"")]),
        crafted(listing(DATABASE, DATABASE), [(member("boucle.db"), b""), (member("boucle.db"), b"")]),
        crafted(listing(("boucle.db", 1 << 60, NOTHING)), [(member("boucle.db"), b"")]),
        crafted(listing(("boucle.db", -1, NOTHING)), [(member("boucle.db"), b"")]),
        crafted(listing(), []),
        crafted(listing(DATABASE, made_at="yesterday"), [(member("boucle.db"), b"")]),
        crafted(b"[" * 100_000, []),
        crafted(b"{}", []),
        b"",
        b"\0" * 10240,
        b"PK\x03\x04 something else",
    ],
)  # fmt: skip
def test_a_crafted_archive_is_refused_with_nothing_changed(archive: bytes, tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_bytes(archive)
    with pytest.raises(Damaged):
        restore(file, tmp_path / "new", Silent())
    assert [p.name for p in tmp_path.iterdir()] == ["b.tar"]


def test_a_newer_format_and_a_missing_file_are_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_bytes(crafted(listing(DATABASE, format=2), []))
    with pytest.raises(Conflict, match="format 2"):
        restore(file, tmp_path / "new", Silent())
    with pytest.raises(NotFound, match="no backup file"):
        restore(tmp_path / "none.tar", tmp_path / "new", Silent())


_WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from boucle.kernel import audit
from boucle.kernel.store import Store

with Store.open(Path(sys.argv[1])) as store:
    number = 0
    while True:
        digest = store.blobs.put(f"{sys.argv[2]} {number}".encode())
        store.write(lambda c: audit.append(c, project_id="p", actor="a", action="note", subject=digest, details={},
                                           at=datetime(2013, 3, 1, tzinfo=UTC)))
        os.write(1, f"{digest}\\n".encode())
        number += 1
"""


@pytest.mark.slow
def test_a_backup_while_three_processes_write_holds_all_that_was_acknowledged_before(
    store: Store, tmp_path: Path
) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(store.home), str(n)], stdout=subprocess.PIPE)
        for n in range(3)
    ]
    told = []
    try:
        for writer in writers:
            assert writer.stdout is not None
            told += [Digest(writer.stdout.readline().decode().strip()) for _ in range(20)]
        save(store.home, tmp_path / "b.tar")
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    restore(tmp_path / "b.tar", tmp_path / "new", Silent())
    with Store.open(tmp_path / "new") as again:
        assert audit.verify(again).problems == []
        kept = {one.subject for one in again.read(lambda c: audit.records(c, project_id="p"))}
        assert set(told) <= kept
        for subject in kept:
            again.blobs.verify(Digest(subject))
    assert store.audit_head.read() is not None
