"""Restore: a backup becomes a home folder, whole or not at all."""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from boucle.kernel.care.archive import Contents, Entry, opened, read_files
from boucle.kernel.care.backup import verify_backup
from boucle.kernel.care.layout import BLOB, kind_of
from boucle.kernel.care.turns import room_beside
from boucle.kernel.errors import Conflict
from boucle.kernel.paths import inside, make_folder, sync_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.kernel.schema import REVISIONS

_NOT_REPLACED: Final = (errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST, errno.EXDEV)


def restore(file: Path, home: Path, progress: Progress) -> Contents:
    """Make the home folder from a backup. Verified to the last byte before anything is written.

    Conflict if the home holds anything, or if a newer Boucle wrote the backup. A kill leaves the home as it was, or
    whole; what it leaves beside the home goes with the next restore.
    """
    home = home.resolve()
    _refuse_used(home, file)
    contents = verify_backup(file, progress)
    if contents.schema not in REVISIONS:
        raise Conflict(
            f"backup {str(file)!r} has schema {contents.schema}, but this Boucle knows none after {REVISIONS[-1]}",
            hint="upgrade Boucle: pip install --upgrade boucle",
        )
    with translate(home), room_beside(home) as room:
        building = room / home.name
        make_folder(building)
        with opened(file) as (source, again), progress.task("restore", total=len(again.files)) as task:
            if again != contents:
                raise Conflict(f"{str(file)!r} changed while it was read", hint="give the same command again")
            _extract(file, source, again, building, task.advance)
        for folder, _, _ in os.walk(building):
            sync_folder(Path(folder))
        reach("restore.synced")
        _refuse_used(home, file)
        try:
            building.rename(home)
        except OSError as error:
            if error.errno not in _NOT_REPLACED:
                raise
            _refuse_used(home, file)  # somebody was quicker
            raise _no_place(home, file) from error
        reach("restore.named")
        sync_folder(home.parent)
    reach("restore.kept")
    return contents


def _refuse_used(home: Path, file: Path) -> None:
    if os.path.ismount(home):
        raise _no_place(home, file)
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Conflict(
            f"{str(home)!r} is not empty; a backup is restored into a missing or empty folder only",
            hint=f"stop what uses it, then: mv '{home}' '{home}.before' && boucle restore '{file}'",
        )


def _no_place(home: Path, file: Path) -> Conflict:
    return Conflict(
        f"{str(home)!r} is a mounted disk or volume, and a restored folder takes its place in one step",
        hint=f"restore into a folder on it, and use that as home: boucle restore '{file}' --home '{home / 'store'}'",
    )


def _extract(file: Path, source: BinaryIO, contents: Contents, building: Path, done: Callable[[], None]) -> None:
    with ExitStack() as current:

        def take(entry: Entry) -> Callable[[bytes], object]:
            current.close()  # the file before
            target = inside(building, entry.path)
            make_folder(target.parent)
            out = current.enter_context(target.open("xb"))
            target.chmod(0o400 if kind_of(entry.path) is BLOB else 0o600)
            current.callback(_sync, out)
            done()
            return out.write

        read_files(file, source, contents, take)


def _sync(out: BinaryIO) -> None:
    out.flush()
    reach("restore.file_written")
    os.fsync(out.fileno())
    reach("restore.file_synced")
