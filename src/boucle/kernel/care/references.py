"""Which blobs the rows of a database cannot do without, by which row, and how a lost one may come back.

By convention a column called `digest` or `<what>_digest` names a kept blob. Those that name something else are listed
here, and a test asks of every new column of that form which of both it is.
"""

import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.layout import files, kind_of
from boucle.kernel.care.roots import named_in
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import BoucleError, Damaged, InvalidInput, NotFound
from boucle.kernel.trees import entries

NO_BLOBS: Final = frozenset({"policy_digest"})
"""Digests of what is kept in a row itself."""
TREES: Final = frozenset({"bundle_digest"})
"""Columns that name lists of files."""

RESTORE: Final = "boucle restore FILE"
REPAIR: Final = "boucle fsck --repair"
_BUNDLE: Final = re.compile(rb'"bundle_digest":"([0-9a-f]{64})"')

Needed = dict[Digest, list[str]]
"""Digests of needed blobs, each with what needs it."""


def needed_by_rows(raw: sqlite3.Connection, without: Mapping[str, str] | None = None) -> Needed:
    """The blobs that the database needs, each with its rows and columns; `without` as in `named_in_database`."""
    found: Needed = {}
    for table, columns, key in _tables(raw):
        named = ", ".join(f'"{column}"' for column in (*key, *columns))
        others = f" WHERE NOT ({without[table]})" if without and table in without else ""
        for row in raw.execute(f'SELECT {named} FROM "{table}"{others}'):
            name = "/".join(str(value) for value in row[: len(key)])
            for column, digest in zip(columns, row[len(key) :], strict=True):
                if digest is not None:
                    found.setdefault(Digest(str(digest)), []).append(f"{table} {name} ({column})")
    return found


def needed_by_trees(raw: sqlite3.Connection, blobs: BlobStore) -> Needed:
    """The files of the trees that the database needs; those of a lost or damaged tree are not known."""
    found: Needed = {}
    trees = {
        Digest(row[0])
        for table, columns, _ in _tables(raw)
        for column in columns
        if column in TREES
        for row in raw.execute(f'SELECT DISTINCT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL')
    }
    for tree in sorted(trees):
        try:
            files = entries(blobs, tree)
        except BoucleError:
            continue
        for entry in files:
            found.setdefault(entry.digest, []).append(f"{entry.path} of the tree {tree[:12]}")
    return found


def add_files(home: Path, needed: Needed) -> set[Digest]:
    """Add what traffic files need to what the database needs; the digests that kept results name."""
    in_results: set[Digest] = set()
    for path, file in files(home):
        kind = kind_of(path)
        if kind is not None and kind.kept:
            try:
                data = file.read_bytes()
            except OSError:
                continue
            if path.startswith("serving/"):
                for digest in _BUNDLE.findall(data):
                    needed.setdefault(Digest(digest.decode()), []).append(path)
            else:
                in_results.update(named_in(data))
    return in_results


def way_back(digest: Digest, needed: Needed, in_results: Collection[Digest]) -> tuple[str, str]:
    """How a blob that is lost or damaged may come back, and the command for it."""
    if digest in in_results:
        return "a step made it, which can make it again", "boucle run"
    if digest in needed:
        return "only a backup has it", RESTORE
    return "nothing needs it", "boucle gc --delete"


def refuse_lost(home: Path, needed: Needed) -> None:
    """Raise Damaged if a needed blob is lost or has other bytes: what it alone names would pass for garbage."""
    blobs = BlobStore(home / "blobs")
    in_results = add_files(home, needed)
    for digest in sorted(needed):
        try:
            blobs.verify(digest)
            continue
        except (NotFound, InvalidInput):
            wrong, mend = "lost", ""
            if (home / "damaged" / digest).exists():
                wrong = f"lost: its damaged bytes are in {str(home / 'damaged')!r}"
        except Damaged:
            wrong, mend = "damaged", f"{REPAIR} && "
        how, command = way_back(digest, needed, in_results)
        raise Damaged(
            f"{needed[digest][0]} needs blob {short(digest)}, which is {wrong}; so what else is needed cannot be "
            f"known, and nothing was changed; {how}",
            hint=f"{mend}{command}",
            details={"digest": digest, "needed_by": needed[digest]},
        )


def missing(blobs: BlobStore, needed: Iterable[Digest]) -> list[Digest]:
    """Those that are not kept."""
    return [digest for digest in needed if len(digest) != 64 or not (blobs.root / digest[:2] / digest).is_file()]


def _tables(raw: sqlite3.Connection) -> list[tuple[str, list[str], list[str]]]:
    """Each table that names blobs, with those columns and with its key."""
    found = []
    for (table,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        columns = raw.execute(f'PRAGMA table_info("{table}")').fetchall()
        named = [column[1] for column in columns if names_a_blob(column[1])]
        key = ["id"] if any(column[1] == "id" for column in columns) else [column[1] for column in columns if column[5]]
        if named:
            found.append((table, named, key or ["rowid"]))
    return found


def names_a_blob(column: str) -> bool:
    """Whether a column of this name holds the digest of a kept blob.

    >>> names_a_blob("profile_digest"), names_a_blob("digest"), names_a_blob("policy_digest"), names_a_blob("hash")
    (True, True, False, False)
    """
    return (column == "digest" or column.endswith("_digest")) and column not in NO_BLOBS
