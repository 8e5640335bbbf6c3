"""What a store needs: every digest that anything mentions, and what those blobs mention in turn.

Conservative on purpose: a digest anywhere in any column of any table, or in any JSON file, keeps its blob. So a new
table or record is covered on the day it is made.
"""

import hashlib
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.layout import files
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import Damaged, NotFound

_DIGEST: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NUMBERS: Final = re.compile("(?:(?:TINY|SMALL|BIG)?INT|INTEGER|DOUBLE|FLOAT|REAL|BOOLEAN)\\b", re.IGNORECASE)
_PIECE_BYTES: Final = 1 << 20


def named_in(data: bytes) -> Iterator[Digest]:
    """Every digest in some text.

    >>> [short(digest) for digest in named_in(b'{"tree": "' + b"ab" * 32 + b'"}')]
    ['abababababab']
    """
    for found in _DIGEST.findall(data):
        yield Digest(found.decode())


def named_in_database(raw: sqlite3.Connection, without: Mapping[str, str] | None = None) -> set[Digest]:
    """Every digest in any text of any table; `without` the rows that meet these conditions, by table.

    Columns of numbers cannot name any, so the points of metrics, of which there are millions, are not read.
    """
    found: set[Digest] = set()
    tables = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        quoted = table.replace('"', '""')
        columns = [
            '"{}"'.format(str(column[1]).replace('"', '""'))
            for column in raw.execute(f'PRAGMA table_info("{quoted}")').fetchall()
            if not _NUMBERS.match(column[2])
        ]
        if not columns:
            continue
        others = f" WHERE NOT ({without[table]})" if without and table in without else ""
        for row in raw.execute(f'SELECT {", ".join(columns)} FROM "{quoted}"{others}'):
            for value in row:
                if isinstance(value, str):
                    found.update(named_in(value.encode(errors="replace")))
                elif isinstance(value, bytes):
                    found.update(named_in(value))
    return found


def named_in_files(home: Path, without: Collection[Path] = ()) -> set[Digest]:
    """Every digest in a JSON file of the home folder."""
    found: set[Digest] = set()
    for name, path in files(home):
        if name.endswith(".json") and path not in without:
            try:
                found.update(named_in(path.read_bytes()))
            except FileNotFoundError:  # replaced meanwhile, and a temporary file has the same digests
                continue
    return found


def reachable(blobs: BlobStore, roots: Iterable[Digest], known: dict[Digest, set[Digest]] | None = None) -> set[Digest]:
    """The kept blobs among the roots, and those that they mention if they are JSON: lists of files, records.

    Damaged if one of those has other bytes than its name says: what it mentioned can't be known. `known` is what blobs
    mention; who asks again passes it on, so that each is read once.
    """
    known = {} if known is None else known
    found: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in found:
            continue
        if digest not in known:
            try:
                known[digest] = _mentioned(blobs, digest)
            except (NotFound, FileNotFoundError):
                continue  # no blob has that name: it is another kind of digest, or the blob is lost
        found.add(digest)
        waiting.extend(known[digest] - found)
    return found


def _mentioned(blobs: BlobStore, digest: Digest) -> set[Digest]:
    mentioned: set[Digest] = set()
    with blobs.path(digest).open("rb") as file:
        piece = file.read(_PIECE_BYTES)
        if not piece.startswith((b"[", b"{")):
            return mentioned
        hasher = hashlib.sha256()
        tail = b""
        while piece:
            hasher.update(piece)
            mentioned.update(named_in(tail + piece))
            tail = piece[-63:]
            piece = file.read(_PIECE_BYTES)
    if hasher.hexdigest() != digest:
        raise Damaged(
            f"blob {short(digest)} is damaged, so that what it needs cannot be known; nothing was changed",
            hint="boucle fsck --repair",
            details={"digest": digest},
        )
    return mentioned
