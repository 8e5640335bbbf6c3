"""Sources: where a project's table comes from.

The file lies below the project's folder (`boucle.kernel.paths.inside`). A `.py` source is the user's own code and
runs with the user's rights; nothing else here executes anything.
"""

import re
from pathlib import Path

import polars as pl

from boucle.data.csv_file import line_of, read_csv
from boucle.data.csv_sniff import advice
from boucle.data.names import nearest
from boucle.data.python_source import call
from boucle.data.records import CsvFormat, DataSection
from boucle.data.scan import scan_file
from boucle.data.schema import normalise
from boucle.kernel.errors import InvalidInput
from boucle.kernel.paths import inside

_PYTHON = re.compile(r"(?P<file>.+\.py):(?P<function>[^:]*)")


def read_table(section: DataSection, folder: Path) -> pl.DataFrame:
    """The source's table in the form that everything after reads (`boucle.data.schema.normalise`).

    InvalidInput about a value in a CSV file names the file and the line, too.
    """
    table = read_source(section.source, folder, section.csv)
    try:
        return normalise(table, section)
    except InvalidInput as error:
        row = error.details.get("row")
        if not isinstance(row, int) or not section.source.lower().endswith(".csv"):
            raise
        path, csv = inside(folder, section.source), section.csv or CsvFormat()
        line = line_of(path, csv, row)
        raise InvalidInput(
            f"{section.source}, line {line}: {error.message}",
            hint=advice(path, csv) or error.hint,
            details={**error.details, "line": line},
        ) from error


def read_source(source: str, folder: Path, csv: CsvFormat | None = None) -> pl.DataFrame:
    """The table that `data.source` of a boucle.yaml in `folder` names.

    `table.csv` has a header line, and is written as `csv` says; `table.parquet`; or `file.py:function`, a
    function without arguments that returns a polars DataFrame. InvalidInput names file, row, column and value of what
    is wrong.
    """
    python = _PYTHON.fullmatch(source)
    path = inside(folder, python["file"] if python else source)
    if python is None and path.suffix.lower() not in (".csv", ".parquet"):
        raise InvalidInput(
            f"source {source!r} is of an unknown type; allowed are `table.csv`, `table.parquet` and `file.py:function`",
            hint="correct `data.source` in boucle.yaml",
        )
    if not path.is_file():
        _refuse_missing(source, path, folder)
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidInput(f"source file {path} can't be read: {error.strerror}", hint=f"chmod u+r '{path}'") from error
    if python is not None:
        table = call(path, python["function"], folder)
    elif path.stat().st_size == 0:
        raise InvalidInput(
            f"{source} is empty (0 bytes); a table with a header and rows is needed", hint=f"fill {path}"
        )
    elif path.suffix.lower() == ".csv":
        table = read_csv(path, csv or CsvFormat(), name=source)
    else:
        table = _read_parquet(path, source)
    if table.height == 0:
        raise InvalidInput(
            f"{source} gives a table with {table.width} columns and no rows; at least one row is needed",
            hint="fill the source, then run: boucle check",
        )
    return table


def _refuse_missing(source: str, path: Path, folder: Path) -> None:
    if path.is_dir():
        raise InvalidInput(
            f"source {source!r} is a folder; a file is needed", hint="correct `data.source` in boucle.yaml"
        )
    siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    meant = nearest(path.name, siblings)
    raise InvalidInput(
        f"source file {path.name} does not exist in {path.parent}" + (f"; there is {meant}" if meant else ""),
        hint=f"put the file there, or correct `data.source` in {folder / 'boucle.yaml'}",
    )


def _read_parquet(path: Path, source: str) -> pl.DataFrame:
    try:
        return scan_file(path, "parquet").collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InvalidInput(
            f"{source} is no valid Parquet file: {_first_line(error)}",
            hint=f"write {path} again, then run: boucle check",
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
