"""The file of a backup: a tar of exactly one form, so that a reader can check every byte of it.

The first member, `boucle-backup-<sha-256 of its bytes>.json`, lists path, size and digest of all others, in order.
Owners, times and permissions are fixed. So a reader knows each header before it reads it, and what differs in one byte
is refused: another path, a link, a device, a size that is not so. Nothing is compressed (Parquet is already), so
nothing can grow. `tar -tf` lists it.

Threat model: the file may be damaged, cut off or crafted.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from boucle.kernel.care.layout import BLOB, DATABASE, HEAD, PART, SEGMENT, kind_of
from boucle.kernel.digests import Digest, canonical_json, digest_bytes, short
from boucle.kernel.errors import Conflict, Damaged, InvalidInput, NotFound
from boucle.kernel.paths import translate

FORMAT: Final = 1
_NAME: Final = re.compile(r"boucle-backup-([0-9a-f]{64})\.json")
_MOST_CONTENTS_BYTES: Final = 1 << 28
_PIECE_BYTES: Final = 1 << 20


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup."""

    path: str
    """Below the home folder, with `/` between folders."""
    size: int
    digest: Digest


class Contents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds."""

    format: int
    boucle: str
    """The version that wrote it."""
    schema: str
    """The revision of its database."""
    made_at: datetime
    files: list[Entry]


def write_archive(
    out: BinaryIO, contents: Contents, data: Callable[[Entry], BinaryIO], done: Callable[[], None]
) -> None:
    """Write a backup; Damaged if a file's bytes are not those that the contents tell."""
    listing = canonical_json(contents)
    out.write(_header(f"boucle-backup-{digest_bytes(listing)}.json", len(listing)))
    out.write(listing + bytes(_padding(len(listing))))
    for entry in contents.files:
        out.write(_header(entry.path, entry.size))
        with data(entry) as source:
            if _copy(source, entry.size, out.write) != entry.digest:
                raise Damaged(
                    f"{entry.path!r} is damaged: it no longer has the digest {short(entry.digest)}",
                    hint="boucle fsck --repair",
                    details={"path": entry.path},
                )
        out.write(bytes(_padding(entry.size)))
        done()
    out.write(bytes(_end(contents, len(listing))))


@contextmanager
def opened(file: Path) -> Iterator[tuple[BinaryIO, Contents]]:
    """An archive and its contents, at its first file.

    NotFound if there is no file, Damaged if it is no whole backup, Conflict if a newer Boucle wrote it.
    """
    with translate(file), _open_file(file) as source:
        yield source, _contents(file, source)


def _open_file(file: Path) -> BinaryIO:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for a pipe's writer
    except FileNotFoundError as error:
        raise NotFound(f"there is no backup file {str(file)!r}", hint="boucle backup FILE makes one") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise NotFound(f"{str(file)!r} is a folder, no backup file", hint="boucle backup FILE makes one")
    raise InvalidInput(f"{str(file)!r} is no regular file", hint="copy the backup into a file first")


def read_files(
    file: Path, source: BinaryIO, contents: Contents, take: Callable[[Entry], Callable[[bytes], object]]
) -> None:
    """Read every file of an opened archive to its end; `take` gives what is called with each piece of a file.

    Damaged at the first byte that is not what was written; pieces were handed out by then.
    """
    for entry in contents.files:
        _expect(file, source, _header(entry.path, entry.size), f"the header of {entry.path!r}")
        if _copy(source, entry.size, take(entry)) != entry.digest:
            raise _damaged(file, f"the bytes of {entry.path!r} are not those that were backed up")
        _expect(file, source, bytes(_padding(entry.size)), f"the end of {entry.path!r}")
    _expect(file, source, bytes(os.fstat(source.fileno()).st_size - source.tell()), "the end")


def _contents(file: Path, source: BinaryIO) -> Contents:
    size = os.fstat(source.fileno()).st_size
    header = source.read(tarfile.BLOCKSIZE)
    try:
        told = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise _damaged(file, "it does not begin as a backup does") from error
    match = _NAME.fullmatch(told.name)
    if match is None or not 0 <= told.size <= min(size, _MOST_CONTENTS_BYTES):
        raise _damaged(file, "it does not begin as a backup does")
    if header != _header(told.name, told.size):
        raise _damaged(file, "its first header is not what was written")
    listing = source.read(told.size)
    if digest_bytes(listing) != match[1]:
        raise _damaged(file, "its list of files is not what was written")
    _expect(file, source, bytes(_padding(told.size)), "the end of its list")
    contents = _decoded(file, listing)
    _check_paths(file, contents)
    expected = _length(contents, len(listing)) + _end(contents, len(listing))
    if size != expected:
        raise _damaged(file, f"it has {size:,} bytes and should have {expected:,}")
    return contents


def _decoded(file: Path, listing: bytes) -> Contents:
    try:
        written = msgspec.json.decode(listing, type=_Format).format
        if written > FORMAT:
            raise Conflict(
                f"backup {str(file)!r} has format {written}, but this Boucle reads none after {FORMAT}",
                hint="upgrade Boucle: pip install --upgrade boucle",
            )
        return msgspec.json.decode(listing, type=Contents)
    except msgspec.MsgspecError as error:
        raise _damaged(file, f"its list of files cannot be read: {error}") from error


def _check_paths(file: Path, contents: Contents) -> None:
    paths = [entry.path for entry in contents.files]
    if len(set(paths)) != len(paths) or DATABASE not in paths:
        raise _damaged(file, "its list names a file twice, or no database")
    for entry in contents.files:
        kind = kind_of(entry.path)
        allowed = kind is not None and (kind.kept or kind in (BLOB, SEGMENT, PART) or entry.path in (DATABASE, HEAD))
        if not allowed or entry.size < 0 or (kind is BLOB and not entry.path.endswith(f"/{entry.digest}")):
            raise _damaged(file, f"its list names {entry.path!r}, which no backup holds")


def _header(path: str, size: int) -> bytes:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def _length(contents: Contents, listing: int) -> int:
    """How long the members are together."""
    sizes = [(len(_header(entry.path, entry.size)), entry.size) for entry in contents.files]
    return sum(head + size + _padding(size) for head, size in [(tarfile.BLOCKSIZE, listing), *sizes])


def _end(contents: Contents, listing: int) -> int:
    """The zeros that end a tar: two blocks, and up to a whole record."""
    length = _length(contents, listing) + 2 * tarfile.BLOCKSIZE
    return 2 * tarfile.BLOCKSIZE + -length % tarfile.RECORDSIZE


def _copy(source: BinaryIO, size: int, take: Callable[[bytes], object]) -> str:
    hasher = hashlib.sha256()
    while size and (piece := source.read(min(size, _PIECE_BYTES))):
        hasher.update(piece)
        take(piece)
        size -= len(piece)
    return hasher.hexdigest() if not size else "cut off"


def _expect(file: Path, source: BinaryIO, expected: bytes, where: str) -> None:
    if source.read(len(expected)) != expected:
        raise _damaged(file, f"{where} is not what was written")


def _damaged(file: Path, why: str) -> Damaged:
    return Damaged(
        f"{str(file)!r} is no whole backup: {why}; nothing was changed",
        hint="take another backup file; `boucle backup --verify FILE` tells which are whole",
        details={"file": str(file)},
    )


class _Format(Struct):
    format: int
