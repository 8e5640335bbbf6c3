"""Paths: the one function that resolves a user's path inside a root, and writes that a crash cannot halve.

Threat model: a name comes from a project file, a client or a stored record, and may be crafted to reach outside
the root.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boucle.kernel.errors import DiskFull, InvalidInput, Unavailable
from boucle.kernel.points import reach


def inside(root: Path, name: str) -> Path:
    """The absolute path of `name` below `root`, symbolic links resolved; the file need not exist.

    Refuses with InvalidInput: an empty or absolute name, `..`, a NUL or a backslash, and a link that leads outside
    the root.

    >>> inside(Path("/srv"), "data/../../etc/passwd")
    Traceback (most recent call last):
    boucle.kernel.errors.InvalidInput: path 'data/../../etc/passwd' contains '..'; allowed are paths below '/srv'
    """
    reason = _refusal(name)
    if reason is not None:
        raise InvalidInput(
            f"path {name!r} {reason}; allowed are paths below {str(root)!r}",
            hint="write the path relative to that folder, for example data/table.csv",
        )
    base = root.resolve()
    try:
        resolved = (base / name).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, a name too long
        raise InvalidInput(f"path {name!r} cannot be resolved below {str(root)!r}: {error}") from error
    if resolved != base and base not in resolved.parents:
        raise InvalidInput(
            f"path {name!r} leads outside {str(root)!r}, to {str(resolved)!r}; allowed are paths below the folder",
            hint="copy the file into the folder instead of linking to it",
        )
    return resolved


def _refusal(name: str) -> str | None:
    if not name:
        return "is empty"
    if "\0" in name:
        return "contains a NUL character"
    if "\\" in name:
        return "contains a backslash"
    if name.startswith("/") or Path(name).is_absolute() or name[1:2] == ":":
        return "is absolute"
    if ".." in name.split("/"):
        return "contains '..'"
    return None


def rewrite(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Replace a file of a person's own, as `write_atomic`: whoever might read and write it may do so afterwards.

    Mode and group stay. A new file has those of `like`; without that all may read it, but for the umask. A link stays,
    and what it leads to is replaced.
    """
    path = path.resolve()
    with translate(path):
        before = next((one.stat() for one in (path, like) if one is not None and one.exists()), None)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, mode=0o644 if before is None else 0o600, like=before)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, like: os.stat_result | None = None) -> None:
    """Replace a file's bytes in one step: readers see the old or the new ones, also after a power cut.

    The folder is made if it is missing. Only the owner may read the file, unless `mode` says otherwise, of which the
    process's umask takes its part; or `like`, whose mode and group it gets, if this user may give them. Unavailable if
    the disk is full or the folder cannot be written.
    """
    with translate(path):
        make_folder(path.parent)
        temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if like is not None:
                    _make_like(descriptor, like)
                reach("file.written")
                os.fsync(file.fileno())
            reach("file.synced")
            temporary.replace(path)
            reach("file.named")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        reach("file.kept")


def _make_like(descriptor: int, like: os.stat_result) -> None:
    mode = stat.S_IMODE(like.st_mode)
    try:
        os.fchown(descriptor, -1, like.st_gid)
    except PermissionError:  # another group gets what everybody has
        mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, only the owner may enter those that are new, and keep them through a power cut."""
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        try:
            new.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError as error:  # its parent is there: a file system without folders of ours, such as /proc
            raise NotADirectoryError(errno.ENOTDIR, "no folder can be made there", str(new)) from error
        sync_folder(new.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, as far as permissions and the file system go."""
    return os.access(folder, os.W_OK | os.X_OK)


def sync_folder(path: Path) -> None:
    """Make a folder's entries (new names, renames) durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        reach("folder.changed")
        os.fsync(descriptor)
        reach("folder.synced")
    finally:
        os.close(descriptor)


_HINTS = {
    errno.ENOSPC: "free some space on that disk, then run the same command again",
    errno.EDQUOT: "free some space in your quota, then run the same command again",
    errno.EROFS: "choose a writable folder with --home DIR or BOUCLE_HOME",
    errno.EACCES: "make the folder writable for you, or choose another with --home DIR or BOUCLE_HOME",
    errno.EPERM: "make the folder writable for you, or choose another with --home DIR or BOUCLE_HOME",
    errno.ENOTDIR: "move the file that stands where the folder should be, or choose another with --home DIR",
    errno.EISDIR: "move the folder that stands where the file should be, or choose another with --home DIR",
    errno.EEXIST: "move the file that stands where the folder should be, or choose another with --home DIR",
    errno.ENAMETOOLONG: "choose a shorter path with --home DIR or BOUCLE_HOME",
    errno.ELOOP: "remove the link that leads to itself, or choose another folder with --home DIR",
    errno.EFBIG: "raise the limit on the size of files: ulimit -f unlimited",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.EIO: "check the disk, then run the same command again",
}


@contextmanager
def translate(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, no permission) within the block into Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HINTS:
            raise
        where = error.filename2 or error.filename or path  # of a rename, the name that was asked for
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
        raise kind(f"cannot use {str(where)!r}: {error.strerror}", hint=_HINTS[error.errno]) from error
