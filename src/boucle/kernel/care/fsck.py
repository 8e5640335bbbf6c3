"""fsck: looks at every byte of a store and names what is wrong. Changes nothing, and works while others write."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from boucle.kernel.audit import HeadFile
from boucle.kernel.audit_chain import AuditHead, Entry, examine
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.gc import TEMPORARY_S
from boucle.kernel.care.layout import DATABASE, FOLDERS, HEAD, files, kind_of, temporaries
from boucle.kernel.care.records import ProblemKind, StoreProblem
from boucle.kernel.care.references import (
    REPAIR,
    RESTORE,
    Needed,
    add_files,
    missing,
    needed_by_rows,
    needed_by_trees,
    way_back,
)
from boucle.kernel.care.turns import care
from boucle.kernel.digests import Digest, digest_file, short
from boucle.kernel.engines import ask_file, explain
from boucle.kernel.errors import BoucleError, Conflict, Unavailable
from boucle.kernel.progress import Progress, Task
from boucle.kernel.schema import is_current
from boucle.kernel.trees import digest_folder

_WRITTEN_OUT: Final = ("cache/trees", "cache/bundles", "serving/bundles")

Look = Callable[[], Iterable[StoreProblem]]
"""What another room knows of its own files."""


def fsck(home: Path, looks: Iterable[Look], progress: Progress) -> list[StoreProblem]:
    """Everything that is wrong with a store, in the order in which it is best mended."""
    blobs = BlobStore(home / "blobs")
    with care(home, shared=True, progress=progress), progress.task("fsck", total=None) as task:
        task.advance(note="database")
        problems, needed = _database(home, blobs)
        problems = _misplaced(home, problems)
        problems += _blobs(home, blobs, needed, task)
        task.advance(note="folders and files")
        problems += _folders(home)
        for look in looks:
            problems += look()
        problems += _files(home)
    return problems


def _database(home: Path, blobs: BlobStore) -> tuple[list[StoreProblem], Needed]:
    """What is wrong with the database and the audit log, and the blobs that they need."""
    path = home / DATABASE
    move = f"mv '{home}' '{home}.damaged' && {RESTORE}"
    if not path.exists():
        message = "there is no database, though there are other parts of a store"
        return [StoreProblem(kind="database_missing", object=DATABASE, message=message, next=move)], {}

    def ask(raw: sqlite3.Connection) -> tuple[list[StoreProblem], Needed]:
        raw.execute("PRAGMA query_only = ON")
        kept = HeadFile(home / HEAD).read()  # before the snapshot: then it can only lag behind
        raw.execute("BEGIN")
        found = [row[0] for row in raw.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        problems = [
            StoreProblem(kind="database_damaged", object=DATABASE, message=str(one), next=move) for one in found
        ]
        problems += _parents(raw)
        problems += _audit(raw, kept)
        needed = needed_by_rows(raw)
        for digest, names in needed_by_trees(raw, blobs).items():
            needed.setdefault(digest, []).extend(names)
        return problems, needed

    try:
        is_current(path)
        return ask_file(path, ask)
    except Conflict as error:
        newer = StoreProblem(kind="schema_newer", object=DATABASE, message=error.message, next=error.hint)
        return [newer], {}
    except Unavailable:
        raise
    except (sqlite3.Error, BoucleError, msgspec.ValidationError) as error:
        explained = explain(error, path)
        if isinstance(explained, Unavailable):  # a disk that is full or busy says nothing about the bytes
            raise explained from error
        message = error.message if isinstance(error, BoucleError) else f"the database cannot be read: {error}"
        return [StoreProblem(kind="database_damaged", object=DATABASE, message=message, next=move)], {}


def _misplaced(home: Path, problems: list[StoreProblem]) -> list[StoreProblem]:
    """Files where a folder should be, or the other way round, before the problems that cannot be mended until then."""
    found = []
    for name in (*FOLDERS, HEAD):
        what, should = ("folder", "file") if name == HEAD else ("file", "folder")
        if (home / name).exists() and (home / name).is_dir() == (name == HEAD):
            message, move = f"a {what} stands where a {should} of the store should be", f"mv '{home / name}' ."
            found.append(StoreProblem(kind="misplaced", object=name, message=message, next=move))
            problems = [replace(one, next=f"{move} && {one.next}") if one.object == name else one for one in problems]
    return found + problems


def _parents(raw: sqlite3.Connection) -> Iterator[StoreProblem]:
    for table, row, parent, _ in raw.execute("PRAGMA foreign_key_check").fetchall():
        message = f"the row needs one of {parent}, which is not there"
        yield StoreProblem(kind="row_without_parent", object=f"{table} row {row}", message=message, next=RESTORE)


def _audit(raw: sqlite3.Connection, kept: AuditHead | None) -> list[StoreProblem]:
    """What the chain says, and whether its head is there."""
    cursor = raw.execute("SELECT * FROM audit_log ORDER BY sequence")
    names = [column[0] for column in cursor.description]
    entries = [msgspec.convert(dict(zip(names, row, strict=True)), Entry) for row in cursor]
    report = examine(entries, kept)
    problems = []
    for one in report.problems:
        if kept is None and one.kind == "cut_tail":
            problems.append(
                StoreProblem(
                    kind="audit_head_missing", object=HEAD, message=one.message, next="boucle fsck --anchor-audit-head"
                )
            )
        else:
            where = f"audit record {one.sequence}"
            problems.append(StoreProblem(kind="audit_broken", object=where, message=one.message, next=RESTORE))
    return problems


def _blobs(home: Path, blobs: BlobStore, needed: Needed, task: Task) -> Iterator[StoreProblem]:
    """Blobs whose bytes have another digest than their name, and needed ones that are not there."""
    in_results = add_files(home, needed)
    for file in sorted(blobs.root.glob("[0-9a-f][0-9a-f]/*")):
        digest = Digest(file.name)
        path = file.relative_to(home).as_posix()
        if kind_of(path) is None or file.name[:2] != file.parent.name or not file.is_file():
            yield StoreProblem(kind="stray", object=path, message="this is no blob, and nothing else of a store")
            continue
        try:
            wrong = digest_file(file) != digest
        except FileNotFoundError:
            continue
        except OSError as error:
            yield _lost("blob_damaged", digest, f"{path} cannot be read: {error.strerror}", needed, in_results)
            continue
        task.advance()
        if wrong:
            yield _lost(
                "blob_damaged", digest, f"the bytes of {path} are not those that it was named for", needed, in_results
            )
    for digest in sorted(missing(blobs, needed)):
        yield _lost("blob_missing", digest, f"blob {short(digest)} is not there", needed, in_results)


def _lost(kind: ProblemKind, digest: Digest, message: str, needed: Needed, in_results: set[Digest]) -> StoreProblem:
    """A blob that cannot be had, with what needs it and how it may come back."""
    names = needed.get(digest, [])
    how, next_command = way_back(digest, needed, in_results)
    if kind == "blob_damaged":
        next_command = f"{REPAIR} && {next_command}" if names or digest in in_results else REPAIR
    return StoreProblem(kind=kind, object=digest, message=f"{message}; {how}", needed_by=names, next=next_command)


def _folders(home: Path) -> Iterator[StoreProblem]:
    """Folders written out that no longer hold the tree that they are named for."""
    for place in _WRITTEN_OUT:
        for folder in sorted((home / place).glob("[!.]*")):
            if folder.suffix == ".sig":  # whoever loads the bundle reads it, and refuses one that is damaged
                continue
            try:
                wrong = digest_folder(folder) != folder.name
            except FileNotFoundError:  # collected or replaced meanwhile
                continue
            except BoucleError:
                wrong = True
            if wrong:
                path = folder.relative_to(home).as_posix()
                message = "it does not hold what it is named for; it is made again from blobs when it is needed"
                yield StoreProblem(kind="folder_damaged", object=path, message=message, next=REPAIR)


def _files(home: Path) -> Iterator[StoreProblem]:
    """Files that belong to nothing, and who else may look in."""
    long_ago = time.time() - TEMPORARY_S
    for path in temporaries(home):
        name = path.relative_to(home).as_posix()
        if path.exists() and path.lstat().st_mtime < long_ago:
            message = "a process that was killed left it"
            yield StoreProblem(kind="temporary_left", object=name, message=message, next=REPAIR)
    for name, _ in files(home):
        if kind_of(name) is None and name not in FOLDERS:
            yield StoreProblem(
                kind="stray", object=name, message="it belongs to no part of a store", next=f"mv '{home / name}' ."
            )
    if home.stat().st_mode & 0o077:
        message = "others than its owner may enter the store"
        yield StoreProblem(kind="open_to_others", object=".", message=message, next=REPAIR)
