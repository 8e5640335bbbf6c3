"""Folders by digest: a sorted list of (path, size, digest), itself a blob; times, owners, permissions are left out."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import Digest, canonical_json, digest_bytes, digest_file, short
from boucle.kernel.errors import Damaged, InvalidInput
from boucle.kernel.paths import inside, make_folder, sync_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.presence import Presence


class TreeEntry(Struct, frozen=True):
    """One file of a tree."""

    path: str
    """Relative, with `/` between folders."""
    size: int
    digest: Digest


def freeze(blobs: BlobStore, folder: Path) -> Digest:
    """Keep a folder's files and their list; the digest of the list names the tree. Empty folders are left out.

    InvalidInput for anything but regular files and folders: links, pipes, sockets, devices.
    """
    files = _entries(folder, blobs.put_file)
    reach("tree.files_kept")
    return blobs.put(canonical_json(files))


def digest_folder(folder: Path) -> Digest:
    """The digest that `freeze` would give, storing nothing."""
    return digest_bytes(canonical_json(listing(folder)))


def listing(folder: Path) -> list[TreeEntry]:
    """The files of a folder as they are now, sorted by path. InvalidInput for links and special files."""
    return _entries(folder, digest_file)


def entries(blobs: BlobStore, digest: Digest) -> list[TreeEntry]:
    """The files of a kept tree, sorted by path. Damaged if the blob is no tree."""
    try:
        return msgspec.json.decode(blobs.get(digest), type=list[TreeEntry])
    except msgspec.DecodeError as error:
        raise Damaged(f"blob {short(digest)} is no tree: {error}", details={"digest": digest}) from error


def materialise(blobs: BlobStore, digest: Digest, target: Path) -> Path:
    """Write a kept tree out as the folder `target`, every file verified, and return it.

    If `target` exists already it must hold exactly that tree (Damaged otherwise) and is left alone. The folder
    appears complete or not at all; two processes may do it at once.
    """
    if target.exists() and blobs.presence.use(target):
        _check_existing(digest, target)
        return target
    files = entries(blobs, digest)
    _appear(digest, target, files, partial(_write, blobs), blobs.presence)
    return target


def copy(folder: Path, target: Path) -> None:
    """Write a copy of a folder out as the folder `target`, which is not there; it appears complete or not at all.

    InvalidInput for anything but regular files and folders, Damaged if a file changes meanwhile.
    """
    files = listing(folder)
    digest = digest_bytes(canonical_json(files))
    _appear(digest, target, files, partial(_write_copy, folder))


def _appear(
    digest: Digest,
    target: Path,
    files: Sequence[TreeEntry],
    write: Callable[[TreeEntry, Path], None],
    presence: Presence | None = None,
) -> None:
    """Give a folder its name once each file is written; one that got the name meanwhile must hold the same."""
    with translate(target):
        make_folder(target.parent)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:100]}."))
        try:
            for entry in files:
                write(entry, temporary)
            for folder, _, _ in os.walk(temporary):
                sync_folder(Path(folder))
            reach("tree.written")
            try:
                with nullcontext() if presence is None else presence.naming():
                    if presence is not None:
                        presence.stamp(temporary)
                    temporary.rename(target)
            except OSError:
                if not (target.exists() if presence is None else presence.use(target)):
                    raise
                _check_existing(digest, target)
            reach("tree.named")
            sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(blobs: BlobStore, entry: TreeEntry, folder: Path) -> None:
    source = blobs.path(entry.digest)
    if not _copied(source, entry, folder):
        raise Damaged(
            f"{entry.path!r} of a tree is damaged: blob {short(entry.digest)} in {str(source)!r} is not what it was",
            hint=f"delete that file, then run `boucle run` to build it again: rm -f '{source}'",
            details={"digest": entry.digest, "file": str(source), "path": entry.path},
        )


def _write_copy(source: Path, entry: TreeEntry, folder: Path) -> None:
    if not _copied(source / entry.path, entry, folder):
        raise Damaged(f"{str(source / entry.path)!r} changed while it was copied", hint="give the same command again")


def _copied(source: Path, entry: TreeEntry, folder: Path) -> bool:
    """Copy a file into a folder; whether it is what it should be."""
    file = inside(folder, entry.path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, file.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        reach("tree.file_written")
        os.fsync(writer.fileno())
    reach("tree.file_synced")
    return file.stat().st_size == entry.size and digest_file(file) == entry.digest


def _check_existing(digest: Digest, target: Path) -> None:
    found = digest_folder(target)
    if found != digest:
        raise Damaged(
            f"folder {str(target)!r} should hold the tree {short(digest)} but holds {short(found)}",
            hint=f"delete it, then run the same command again: rm -r '{target}'",
            details={"digest": digest, "found": found, "folder": str(target)},
        )


def _entries(folder: Path, digest_of: Callable[[Path], Digest]) -> list[TreeEntry]:
    found = [TreeEntry(name.as_posix(), file.stat().st_size, digest_of(file)) for name, file in _files(folder)]
    return sorted(found, key=lambda entry: entry.path)


def _files(folder: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    if not folder.is_dir():
        raise InvalidInput(f"{str(folder)!r} is no folder")
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise InvalidInput(
                    f"{str(path)!r} is no regular file; a frozen folder holds only regular files and folders",
                    hint="replace the link or special file by a copy of what it points to",
                )
            yield PurePosixPath(path.relative_to(folder).as_posix()), path
