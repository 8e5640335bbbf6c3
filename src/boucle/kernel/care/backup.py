"""Backup: everything that a store needs, as it was at one moment, in one file, while others go on writing."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from boucle.kernel.audit_chain import GENESIS, AuditHead
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.archive import FORMAT, Contents, Entry, opened, read_files, write_archive
from boucle.kernel.care.layout import DATABASE, HEAD, PART, SEGMENT, files, kind_of
from boucle.kernel.care.references import Needed, missing, needed_by_rows, needed_by_trees
from boucle.kernel.care.roots import named_in, named_in_database, reachable
from boucle.kernel.care.turns import care, room_beside
from boucle.kernel.digests import Digest, canonical_json, digest_bytes, digest_file, short
from boucle.kernel.engines import ask_file, explain
from boucle.kernel.errors import Conflict, Damaged, InvalidInput, NotFound
from boucle.kernel.paths import sync_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.kernel.schema import is_current, version_of


def backup(
    home: Path,
    file: Path,
    *,
    whole_bytes: Callable[[Path], int],
    force: bool,
    written_by: str,
    made_at: datetime,
    progress: Progress,
) -> Contents:
    """Write a backup of the store, and return what it holds. The file appears whole or not at all.

    `whole_bytes` tells how much of a log segment is whole frames, `written_by` is the program's version. Conflict if
    the file exists, unless `force`, or if a newer Boucle wrote the store; Damaged if something that the store needs has
    other bytes than it should. Damaged, too, if something is lost: the rest is written, but replaces no file.
    """
    file = file.resolve()
    if file.is_relative_to(home.resolve()):
        raise InvalidInput(
            f"{str(file)!r} lies in the store itself", hint="write the backup elsewhere, best on another disk"
        )
    if file.exists() and not file.is_dir() and not file.is_file():
        raise InvalidInput(f"{str(file)!r} is no regular file", hint="choose another name for the backup")
    if file.is_dir() or (file.exists() and not force):
        raise Conflict(f"{str(file)!r} exists already", hint="choose another name, or give --force to replace the file")
    if not file.parent.is_dir():
        raise NotFound(f"there is no folder {str(file.parent)!r}", hint=f"mkdir -p '{file.parent}'")
    with translate(file), room_beside(file) as room:
        written = room / "backup.tar"
        with care(home, shared=True, progress=progress):
            is_current(home / DATABASE)  # refuses a newer one
            contents, lost = _write(home, written, room / DATABASE, whole_bytes, (written_by, made_at), progress)
        if lost and file.exists():
            raise _incomplete(lost, f"{str(file)!r} was not replaced", f"boucle backup '{file}.incomplete'")
        reach("backup.synced")
        written.replace(file)
        reach("backup.named")
        sync_folder(file.parent)
    reach("backup.kept")
    if lost:
        raise _incomplete(lost, f"{str(file)!r} holds the rest", "boucle fsck")
    return contents


def verify_backup(file: Path, progress: Progress) -> Contents:
    """Read a backup to its last byte, and return what it holds; Damaged if a byte is not what was written."""
    with opened(file) as (source, contents), progress.task("verify", total=len(contents.files)) as task:

        def take(_: Entry) -> Callable[[bytes], object]:
            task.advance()
            return len

        read_files(file, source, contents, take)
    return contents


def _write(
    home: Path,
    written: Path,
    snapshot: Path,
    whole_bytes: Callable[[Path], int],
    stamp: tuple[str, datetime],
    progress: Progress,
) -> tuple[Contents, Needed]:
    """Write the backup; what it holds, and what it lacks."""
    # Results, traffic and head before the database: what they tell of is in a snapshot that is made later.
    small, segments = _read_small(home, whole_bytes)
    blobs = BlobStore(home / "blobs")
    named, lost = _snapshot(home / DATABASE, snapshot, small, blobs)
    needed = reachable(blobs, named.union(*(named_in(data) for data in small.values())))
    entries = [Entry(DATABASE, snapshot.stat().st_size, digest_file(snapshot))]
    entries += [Entry(path, len(data), digest_bytes(data)) for path, data in sorted(small.items())]
    entries += [Entry(path, size, _digest_of_first(home / path, size)) for path, size in sorted(segments.items())]
    kept = [(f"blobs/{digest[:2]}/{digest}", digest) for digest in sorted(needed)]
    entries += [Entry(path, blobs.path(digest).stat().st_size, digest) for path, digest in kept]
    contents = Contents(
        format=FORMAT, boucle=stamp[0], schema=version_of(snapshot) or "", made_at=stamp[1], files=entries
    )

    def data(entry: Entry) -> BinaryIO:
        if entry.path == DATABASE:
            return snapshot.open("rb")
        return BytesIO(small[entry.path]) if entry.path in small else (home / entry.path).open("rb")

    with progress.task("backup", total=len(entries)) as task, written.open("xb") as out:
        written.chmod(0o600)
        write_archive(out, contents, data, task.advance)
        out.flush()
        reach("backup.written")
        os.fsync(out.fileno())
        reach("backup.on_disk")
    return contents, lost


def _read_small(home: Path, whole_bytes: Callable[[Path], int]) -> tuple[dict[str, bytes], dict[str, int]]:
    """The files that a backup holds as they are, and how much of each file of the prediction log."""
    small: dict[str, bytes] = {}
    segments: dict[str, int] = {}
    for path, file in files(home):
        kind = kind_of(path)
        if kind is not None and not file.is_symlink() and (kind.kept or path == HEAD):
            small[path] = file.read_bytes()
        elif kind is SEGMENT:
            segments[path] = whole_bytes(file)
        elif kind is PART:
            segments[path] = file.stat().st_size
    return small, segments


def _incomplete(lost: Needed, done: str, hint: str) -> Damaged:
    told = [f"{short(digest)} ({names[0]})" for digest, names in sorted(lost.items())]
    more = f" and {len(told) - 5:,} more" if len(told) > 5 else ""
    return Damaged(
        f"the store has lost {len(lost):,} blobs that it needs: {', '.join(told[:5])}{more}; {done}",
        hint=hint,
        details={"missing": sorted(lost)},
    )


def _snapshot(database: Path, snapshot: Path, small: dict[str, bytes], blobs: BlobStore) -> tuple[set[Digest], Needed]:
    """Copy the database as it is now, and let the kept head fit the copy.

    Returns the digests that the copy names, and the blobs that it needs and that are not there.
    """

    def copy(raw: sqlite3.Connection) -> None:
        snapshot.write_bytes(b"")  # SQLite fills an empty file only, and this may be the second time
        raw.execute("VACUUM INTO ?", (str(snapshot),))

    try:
        ask_file(database, copy)
        with closing(sqlite3.connect(snapshot)) as raw:
            if HEAD in small:
                small[HEAD] = _fitting_head(raw, small[HEAD])
            needed = needed_by_rows(raw) | needed_by_trees(raw, blobs)
            return named_in_database(raw), {digest: needed[digest] for digest in missing(blobs, needed)}
    except sqlite3.Error as error:
        raise explain(error, database) from error


def _fitting_head(raw: sqlite3.Connection, kept: bytes) -> bytes:
    """The head of the copied log, if the kept one is in its chain; else the kept one, which is evidence."""
    hashes = {0: GENESIS, **dict(raw.execute("SELECT sequence, hash FROM audit_log").fetchall())}
    try:
        head = msgspec.json.decode(kept, type=AuditHead)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return kept
    if hashes.get(head.sequence) != head.hash:
        return kept
    last = max(hashes)
    return canonical_json(AuditHead(last, hashes[last]))


def _digest_of_first(file: Path, size: int) -> Digest:
    with file.open("rb") as opened_file:
        return digest_bytes(opened_file.read(size))
