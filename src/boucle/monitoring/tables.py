"""Two tables of files, or their kept profiles, compared: `boucle drift`."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs
from msgspec.structs import replace

from boucle.data import row_sample, table_file
from boucle.data.api import quantiles
from boucle.data.profile_file import SUFFIX, ProfiledTable, load, profile_file, sample_file
from boucle.data.records import Noise, NumericProfile
from boucle.data.row_sample import RowSample
from boucle.data.table_file import Shape, TableFile
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress, Silent
from boucle.monitoring.columns import AnyColumn, NumberColumn, exact
from boucle.monitoring.compare import Distances, changed, columns_of, compared
from boucle.monitoring.nulls import CELLS, noise_of, size_of
from boucle.monitoring.statistics import Floats
from boucle.monitoring.together import FEWEST, together
from boucle.monitoring.verdict import AT_LEAST, RATE, TableVerdict, judged

_MIDDLES: Final = (np.arange(CELLS) + 0.5) / CELLS
_Compared = tuple[Distances, dict[str, Noise]]


def compare_files(
    reference: Path,
    window: Path,
    *,
    rate: float = RATE,
    at_least: float = AT_LEAST,
    weights: Mapping[str, float] | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> TableVerdict:
    """The verdict on two tables: exact, or, if one of them is a kept profile, by profiles.

    Tables of columns (Parquet, Arrow) are read a column at a time, `jobs` of them at once. NotFound and InvalidInput
    as `boucle.data.table_file.look` and `boucle.data.profile_file.load` have them, and if a column that has a weight
    is in neither.
    """
    progress = progress or Silent()
    if SUFFIX in (reference.suffix, window.suffix):
        sides = [
            load(one, lists=False) if one.suffix == SUFFIX else profile_file(one, jobs=jobs, progress=progress)
            for one in (reference, window)
        ]
        found = compare_profiles(sides[0], sides[1])
    else:
        found = _compare_tables(reference, window, jobs, progress)
    names = [distances.column for distances, _ in found]
    if odd := sorted(set(weights or {}) - set(names)):
        raise InvalidInput(
            f"the weights name {odd[0]!r}, which is no column of {reference.name} or {window.name}; "
            f"these have {', '.join(names[:20])}",
            hint="correct the file of weights",
        )
    return judged(
        [distances for distances, _ in found],
        rate=rate,
        at_least=at_least,
        noise={distances.column: noise for distances, noise in found},
        weights=weights,
    )


def with_together(verdict: TableVerdict, reference: Path, window: Path) -> TableVerdict:
    """The verdict with whether columns go together as they did, by at most 1,000 rows of each side.

    Raises:
        InvalidInput: a kept profile has no rows, or there are too few rows or columns to tell.
    """
    sides = [row_sample.rows_of(_sample(one)) for one in (reference, window)]
    weights = {one.column: one.weight for one in verdict.columns}
    found = together(sides[0], sides[1], rate=verdict.rate, weights=weights)
    if found is None:
        rows = min(side.height for side in sides)
        raise InvalidInput(
            f"{rows} rows and {len(set(sides[0].columns) & set(sides[1].columns))} shared columns cannot tell whether "
            f"columns go together; at least {FEWEST} rows on each side and 2 columns are needed",
            hint="boucle drift REFERENCE CURRENT, without --together",
        )
    return replace(verdict, together=found, drifted=verdict.drifted or found.drifted)


def _sample(path: Path) -> RowSample:
    if path.suffix != SUFFIX:
        return sample_file(path)
    kept = load(path).sample
    if kept is None:
        raise InvalidInput(
            f"{path.name} keeps no rows, which --together needs", hint=f"boucle profile TABLE --rows 1000 -o {path}"
        )
    return kept


def compare_profiles(reference: ProfiledTable, window: ProfiledTable) -> list[_Compared]:
    """The distances of each column, with what they are without drift where the reference keeps that."""
    ours, theirs = (_in_order(one) for one in (reference, window))
    kept = reference.noise or {}
    others = _changed(reference.columns, window.columns)
    plain = {name: column for name, column in theirs.items() if name not in others}
    found = compared({name: column for name, column in ours.items() if name not in others}, plain)
    found += [changed(name, ours[name], theirs[name], note) for name, note in others.items()]
    return [(one, kept.get(one.column, {})) for one in found]


def reference_noise(table: ProfiledTable) -> dict[str, dict[str, Noise]]:
    """What the distances of each column are without drift, to be kept with a profile."""
    columns = columns_of(table.profile)
    return {
        one.column: noise_of(np.array(one.reference_counts), _quantiles(columns[one.column]))
        for one in compared(columns, columns)
        if one.state == "compared"
    }


def _compare_tables(reference: Path, window: Path, jobs: int, progress: Progress) -> list[_Compared]:
    typed = [table_file.typed(table_file.look(one), progress) for one in (reference, window)]
    tables = [_read(one, known, progress) for one, known in typed]
    wanted = [{name: shape for name, shape in known.items() if shape != "other"} for _, known in typed]
    others = _changed(*wanted)
    names = [*wanted[0], *(name for name in wanted[1] if name not in wanted[0])]

    def one(name: str) -> _Compared:
        columns = [
            exact(_column(file, table, name)) if name in known else None
            for (file, _), table, known in zip(typed, tables, wanted, strict=True)
        ]
        ours, theirs = columns
        if name in others and ours is not None and theirs is not None:
            return changed(name, ours, theirs, others[name]), {}
        [made] = compared({} if ours is None else {name: ours}, {} if theirs is None else {name: theirs})
        if made.state != "compared" or ours is None:
            return made, {}
        size = max(1, round(size_of(made.reference_rows, made.window_rows)))
        return made, noise_of(np.array(made.reference_counts), _quantiles(ours), [size])

    found: list[_Compared] = []
    with ThreadPoolExecutor(jobs) as pool, progress.task("columns", len(names), even=True) as task:
        for each in pool.map(one, names):
            found.append(each)
            task.advance()
    return found


def _read(file: TableFile, shapes: Mapping[str, Shape], progress: Progress) -> pl.LazyFrame | pl.DataFrame:
    """A table of columns is only opened, one of lines is read."""
    if file.kind in ("parquet", "ipc"):
        return table_file.scan(file)
    pieces: list[pl.DataFrame] = []
    with progress.task(f"read {file.path.name}", len(file.pieces), even=True) as task:
        for piece in table_file.pieces(file, shapes):
            pieces.append(piece)
            task.advance()
    return pl.concat(pieces, rechunk=False)


def _column(file: TableFile, table: pl.LazyFrame | pl.DataFrame, name: str) -> pl.Series:
    if isinstance(table, pl.LazyFrame):
        return table_file.collected(file, table.select(cs.by_name(name)))[name]
    return table[name]


def _in_order(table: ProfiledTable) -> dict[str, AnyColumn]:
    columns = columns_of(table.profile)
    return {name: columns[name] for name in table.columns if name in columns}


def _changed(reference: Mapping[str, Shape], window: Mapping[str, Shape]) -> dict[str, str]:
    """Columns of times that are numbers now, and the other way; texts show by themselves."""
    found: dict[str, str] = {}
    for name in reference.keys() & window.keys():
        was, now = reference[name], window[name]
        if was != now and "time" in (was, now) and {was, now} <= {"time", "number", "boolean"}:
            found[name] = f"was {was}, is {now}"
    return dict(sorted(found.items()))


def _quantiles(column: AnyColumn) -> Floats | None:
    """A column of numbers at the middles of CELLS equal cells; None of texts, and without values."""
    if isinstance(column, NumberColumn):
        rows = len(column.values)
        return column.values[(_MIDDLES * rows).astype(np.intp)] if rows else None
    if isinstance(column, NumericProfile) and column.minimum is not None:
        return np.array(quantiles(column, _MIDDLES.tolist()))
    return None
