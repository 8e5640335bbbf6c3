"""Profiles of files: made piece by piece in bounded memory, and kept as files of their own.

A kept profile is a line that names the format and its version, then MessagePack: the record of the profile, whose
histograms are packed as the differences of their prefixes and as counts, each in the fewest bytes that hold them.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import asdict
from numpy.typing import NDArray

from boucle.data import profiles, row_sample, table_file
from boucle.data.number_profile import remember
from boucle.data.records import CategoryProfile, Noise, NumericProfile, Profile
from boucle.data.row_sample import RowSample
from boucle.data.table_file import Shape
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.progress import Progress, Silent

FORMAT: Final = 1
SUFFIX: Final = ".profile"
_MAGIC: Final = b"boucle-profile "


class ProfiledTable(Struct, frozen=True, kw_only=True):
    """The profile of a table, and what its columns were."""

    source: str
    """The file's name."""
    columns: dict[str, Shape]
    """In the table's order; those that are `other` (lists, structs, bytes, durations) have no profile."""
    profile: Profile
    noise: dict[str, dict[str, Noise]] | None = None
    """By column and distance: how far samples of the column are from it without any drift."""
    sample: RowSample | None = None
    """Some of its rows, where they were asked for."""


def profile_file(path: Path, *, jobs: int = 1, progress: Progress | None = None) -> ProfiledTable:
    """The profile in full of a Parquet, Arrow, CSV or JSON lines file of any size.

    Reads it in pieces, and works on `jobs` columns at a time: memory depends on the number of columns, not of rows.
    NotFound if there is none; InvalidInput if it is no table, or one without columns or rows.
    """
    progress = progress or Silent()
    file, columns = table_file.typed(table_file.look(path), progress)
    known: profiles.Known | None = None
    with ExitStack() as stack:
        task = stack.enter_context(progress.task(f"profile {path.name}", len(file.pieces), even=True))
        each = stack.enter_context(ThreadPoolExecutor(jobs)).map if jobs > 1 else map
        for table in table_file.pieces(file, columns):
            known = profiles.added(known or profiles.opened(table, full=True), table, each)
            task.advance()
    if known is None or not known.rows:
        raise InvalidInput(f"{path.name} has {len(columns)} columns and no rows; a profile needs at least one row")
    return ProfiledTable(source=path.name, columns=columns, profile=profiles.closed(known))


def sample_file(path: Path, most: int = row_sample.ROWS) -> RowSample:
    """Some rows of a table, each as likely as any other and the same for the same file; in bounded memory."""
    file, columns = table_file.typed(table_file.look(path), Silent())
    names = [name for name, shape in columns.items() if shape != "other"]
    known: RowSample | None = None
    for number, table in enumerate(table_file.pieces(file, columns)):
        own = row_sample.sampled(table, names, most, number)
        known = own if known is None else row_sample.joined(known, own)
    if known is None:
        raise InvalidInput(f"{path.name} has no rows; a sample needs at least one")
    return known


def load(path: Path, *, lists: bool = True) -> ProfiledTable:
    """A kept profile; `lists` as in `from_bytes`. NotFound if there is none, InvalidInput for anything else."""
    try:
        return from_bytes(path.read_bytes(), path.name, lists=lists)
    except FileNotFoundError as error:
        raise NotFound(f"there is no profile {str(path)!r}", hint=f"boucle profile TABLE -o {path}") from error
    except OSError as error:
        raise InvalidInput(f"{path.name} can't be read: {error.strerror}", hint=f"ls -l {path}") from error


def to_bytes(table: ProfiledTable) -> bytes:
    """A profile as it is kept."""
    plain: dict[str, Any] = msgspec.to_builtins(table)
    for one in _histograms(plain["profile"]):
        prefixes = np.array(one["prefixes"], np.int64)
        one["prefixes"] = [int(prefixes[0]) if len(prefixes) else 0, *_packed(prefixes[1:] - prefixes[:-1])]
        one["counts"] = _packed(np.array(one["counts"], np.int64))
    return _MAGIC + str(FORMAT).encode() + b"\n" + msgspec.msgpack.encode(plain)


def from_bytes(data: bytes, name: str = "the profile", *, lists: bool = True) -> ProfiledTable:
    """Inverse of `to_bytes`; InvalidInput if that is not what it is.

    `lists`: False leaves `prefixes` and `counts` empty, for who asks `histogram_of` alone and keeps nothing: making the
    lists of two files of fifty columns takes a fifth of the time of comparing these.
    """
    head, _, packed = data.partition(b"\n")
    version = head.removeprefix(_MAGIC)
    if not data.startswith(_MAGIC) or not version.isdigit():
        raise InvalidInput(f"{name} is no profile that Boucle kept", hint=f"boucle profile TABLE -o {name}")
    if int(version) > FORMAT:
        raise InvalidInput(
            f"{name} has format {int(version)}; this Boucle reads up to {FORMAT}", hint="pip install --upgrade boucle"
        )
    try:
        kept = _READER.decode(packed)
        numeric = [_numbers(one, lists) for one in kept.profile.numeric]
        categories = [_text(one, lists) for one in kept.profile.categories]
        summary = Profile(**{**asdict(kept.profile), "numeric": numeric, "categories": categories})
        return ProfiledTable(**{**asdict(kept), "profile": summary})
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidInput(f"{name} is damaged: {error}", hint=f"boucle profile TABLE -o {name}") from error


class _KeptNumbers(NumericProfile, frozen=True, kw_only=True, dict=True):
    """A profile of numbers as it is kept: first prefix, bytes a step, steps; bytes a count, counts."""

    prefixes: tuple[int, int, bytes]  # type: ignore[assignment]
    counts: tuple[int, bytes]  # type: ignore[assignment]


class _KeptText(CategoryProfile, frozen=True, kw_only=True):
    lengths: _KeptNumbers | None = None


class _KeptProfile(Profile, frozen=True, kw_only=True):
    numeric: list[_KeptNumbers]  # type: ignore[assignment]
    categories: list[_KeptText]  # type: ignore[assignment]


class _KeptTable(ProfiledTable, frozen=True, kw_only=True):
    profile: _KeptProfile


_READER: Final = msgspec.msgpack.Decoder(_KeptTable)


def _numbers(kept: _KeptNumbers, lists: bool) -> NumericProfile:
    first, size, steps = kept.prefixes
    counts = _unpacked(*kept.counts)
    prefixes = np.cumsum(np.concatenate([np.array([first]), _unpacked(size, steps)]))[: len(counts)]
    whole = [prefixes.tolist(), counts.tolist()] if lists else [[], []]
    made = NumericProfile(**{**asdict(kept), "prefixes": whole[0], "counts": whole[1]})
    remember(made, prefixes, counts)
    return made


def _text(kept: _KeptText, lists: bool) -> CategoryProfile:
    lengths = None if kept.lengths is None else _numbers(kept.lengths, lists)
    return CategoryProfile(**{**asdict(kept), "lengths": lengths})


def _histograms(profile: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [*profile["numeric"], *(one["lengths"] for one in profile["categories"] if one["lengths"] is not None)]


def _packed(numbers: NDArray[np.int64]) -> list[Any]:
    """Numbers of 0 or more as the bytes that each takes, and all of these."""
    unsigned = numbers.view(np.uint64)
    size = np.min_scalar_type(int(unsigned.max())).itemsize if len(unsigned) else 1
    return [size, unsigned.astype(f"<u{size}").tobytes()]


def _unpacked(size: int, data: bytes) -> NDArray[np.int64]:
    return np.frombuffer(data, f"<u{size}").astype(np.uint64).view(np.int64)
