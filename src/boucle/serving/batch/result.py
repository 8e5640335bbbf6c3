"""The result of a batch: parts become one file that gets its name when it is whole."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from boucle.data.scan import scan_file
from boucle.kernel.errors import Conflict
from boucle.kernel.paths import make_folder, sync_folder, translate
from boucle.kernel.points import reach

GROUP_ROWS = 131_072


@contextmanager
def workplace(out: Path, plan_id: str) -> Iterator[Path]:
    """The hidden folder beside `out` where parts are kept, for this process alone; those of other plans go.

    Conflict if another process is at work on the same result. It stays if the block fails: the next run goes on there.
    """
    folder = out.parent / f".{out.name}.{plan_id}"
    with translate(folder):
        make_folder(folder)
        with _alone(folder, out):
            for other in out.parent.glob(f".{_escaped(out.name)}.batch-*"):
                if other != folder:
                    with _alone(other, out):
                        shutil.rmtree(other, ignore_errors=True)
            try:
                yield folder
            except BaseException:
                with suppress(OSError):
                    folder.rmdir()  # nothing is finished
                raise
            shutil.rmtree(folder, ignore_errors=True)


def put_together(parts: Sequence[Path], columns: Sequence[str], out: Path, folder: Path) -> None:
    """Make one file of the parts, in their order, and give it its name: Parquet, or CSV by its ending.

    `columns` are all that a part may have, in their order; one that only some parts have is empty for the others.
    """
    temporary = folder / "result"
    kinds: dict[str, pl.DataType] = {}
    for part in parts:
        kinds |= scan_file(part, "parquet").collect_schema()
    schema = {name: kinds[name] for name in columns if name in kinds}
    table = pl.scan_parquet(list(parts), glob=False, schema=schema, missing_columns="insert")
    with translate(out), _numbered(temporary):
        reach("batch.parts_kept")
        if out.suffix.lower() == ".csv":
            reach("batch.rows_chosen")
            table.sink_csv(temporary, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ", maintain_order=True)
        else:
            reach("batch.columns_chosen")
            table.sink_parquet(temporary, compression="zstd", row_group_size=GROUP_ROWS, maintain_order=True)
        reach("batch.written")
        _give_name(temporary, out)


@contextmanager
def _numbered(file: Path) -> Iterator[None]:
    """Give the errors of the system that Polars tells of in words their number back."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        if told is None or getattr(error, "errno", None) is not None:
            raise
        raise OSError(int(told[1]), os.strerror(int(told[1])), str(file)) from error


def list_left_out(lists: Iterable[Path], out: Path, folder: Path) -> None:
    """Make one list of those of the pieces, in their order, and give it its name."""
    temporary = folder / "left-out"
    with translate(out):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as whole:
            for one in lists:
                with one.open("rb") as file:
                    shutil.copyfileobj(file, whole)
        _give_name(temporary, out)


def _give_name(temporary: Path, out: Path) -> None:
    """Put a whole file in the place of another, so that a power cut leaves the one or the other."""
    reach("batch.whole")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    reach("batch.synced")
    temporary.replace(out)
    reach("batch.named")
    sync_folder(out.parent)


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another process predicts into {str(out)!r} at this moment", hint="wait for it, or give another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
