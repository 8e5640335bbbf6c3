"""Garbage collection: takes away what nothing needs and nobody has put or used for a while.

A thing goes only if its time is before the grace period, before the beginning of every living process that works in the
store (`boucle.kernel.presence`), and still the one that it had before the roots were looked up. So what another process
puts or uses at the same time stays, with any grace period and any clock.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from boucle.kernel import presence
from boucle.kernel.care.layout import DATABASE, temporaries
from boucle.kernel.care.records import Candidate, GcReport, Gone, Purge, candidate
from boucle.kernel.care.references import Needed, needed_by_rows, refuse_lost
from boucle.kernel.care.roots import named_in_database, named_in_files, reachable
from boucle.kernel.care.turns import care, present_since
from boucle.kernel.digests import Digest
from boucle.kernel.engines import damaged, raw_of
from boucle.kernel.locks import turn
from boucle.kernel.paths import translate
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.kernel.schema import version_of
from boucle.kernel.store import Store

TEMPORARY_S: Final = 3600.0
"""Age from which a temporary file is what a killed process left: nothing is written for an hour."""


def collect(
    store: Store,
    finders: Sequence[Callable[[], Iterable[Candidate | None]]],
    *,
    purges: Sequence[Purge] = (),
    grace_s: float,
    delete: bool,
    progress: Progress,
) -> GcReport:
    """Take away what may go; a dry run, without `delete`, only tells.

    `finders` tell what may go beside blobs and temporary files, `purges` which rows go for good, each of tables of its
    own. Nobody who writes waits while the rows that stay are read. Damaged, with nothing changed, if what is needed
    can't be known: what rows need is read to its last byte first.
    """
    home, blobs = store.home, store.blobs
    with care(home, shared=False, progress=progress), translate(home), progress.task("collect", total=3) as task:
        others = [one for find in finders for one in find() if one is not None]
        others += [one for one in map(_temporary, temporaries(home)) if one is not None]
        kept = list(_blobs(blobs.root, grace_s))
        oldest = present_since(blobs.root)  # after the times of all candidates: who comes later changes them
        task.advance(note="what is needed")
        going = {table: where for purge in purges for table, where in purge.where.items()}
        expired, named, rows_need = store.read(lambda connection: _named(raw_of(connection), going))
        refuse_lost(home, rows_need)
        known: dict[Digest, set[Digest]] = {}
        reachable(blobs, named | named_in_files(home), known)  # refuses while nothing is changed
        task.advance(note="results, folders, logs")
        if purges and delete:
            for purge in purges:
                purge.run(store, progress)
            # What was restored meanwhile is needed after all.
            named |= store.read(lambda connection: named_in_database(raw_of(connection)))
        gone = [one for one in others if _take(blobs.root, one, oldest, delete=delete)]
        # Of the results only those that are gone now name nothing any more. Rows written since name what is spared.
        needed = reachable(blobs, named | named_in_files(home, without={one.path for one in gone}), known)
        task.advance(note="blobs")
        garbage = (one for one in kept if one.path.name not in needed)
        gone += [one for one in garbage if _take(blobs.root, one, oldest, delete=delete)]
    told = [Gone(kind=one.kind, path=one.path.relative_to(home).as_posix(), size_bytes=one.size_bytes) for one in gone]
    return GcReport(deleted=delete, gone=told, kept_blobs=len(needed), expired=expired)


def refuse_empty(home: Path) -> None:
    """Raise Damaged for blobs beside an empty database: a new one would need none of them."""
    path = home / DATABASE
    if version_of(path) is None and any((home / "blobs").glob("[0-9a-f][0-9a-f]/*")):
        raise damaged(path, "it is missing or empty, though there are blobs; nothing was changed")


def _named(raw: sqlite3.Connection, going: Mapping[str, str]) -> tuple[dict[str, int], set[Digest], Needed]:
    """How many rows are going, by table, and what the others name and need."""
    counts = {table: _count(raw, table, where) for table, where in going.items()}
    expired = {table: count for table, count in counts.items() if count}
    return expired, named_in_database(raw, going), needed_by_rows(raw, going)


def _count(raw: sqlite3.Connection, table: str, where: str) -> int:
    return int(raw.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])


def _temporary(path: Path) -> Candidate | None:
    return candidate("temporary file", path, TEMPORARY_S)


def _blobs(root: Path, grace_s: float) -> Iterable[Candidate]:
    for folder in sorted(root.glob("[0-9a-f][0-9a-f]")):
        found = (candidate("blob", file, grace_s) for file in sorted(folder.iterdir()) if len(file.name) == 64)
        yield from (one for one in found if one is not None)


def _take(root: Path, one: Candidate, oldest: int | None, *, delete: bool) -> bool:
    """Take a thing away if it is old enough and nobody has used it since it was found; a dry run only asks."""
    before = time.time_ns() - int(one.age_s * 1e9)
    if one.used_ns >= (before if oldest is None else min(before, oldest)):
        return False
    with turn(root / presence.LOCK):
        try:
            now = one.path.lstat()
        except FileNotFoundError:
            return False
        if (now.st_ino, now.st_mtime_ns) != (one.inode, one.used_ns):
            return False
        if not delete:
            return True
        reach("gc.chosen")
        if not one.path.is_dir():
            one.path.unlink()
            reach("gc.taken")
            return True
        # A folder goes in one step; what is left if this process is killed is a temporary one.
        going = one.path.with_name(f".{one.path.name.lstrip('.')}.going")
        if going != one.path:
            shutil.rmtree(going, ignore_errors=True)
            one.path.rename(going)
    reach("gc.folder_moved")
    shutil.rmtree(going, ignore_errors=True)
    reach("gc.folder_gone")
    return True
