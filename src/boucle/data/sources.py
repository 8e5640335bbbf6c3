"""Sources: where a project's table comes from.

The file lies below the project's folder (`boucle.kernel.paths.inside`). A `.py` source is the user's own code and
runs with the user's rights; nothing else here executes anything.
"""

import codecs
import csv
import re
from collections import Counter
from pathlib import Path

import polars as pl

from boucle.data.names import nearest
from boucle.data.python_source import call
from boucle.kernel.errors import InvalidInput
from boucle.kernel.paths import inside

_PYTHON = re.compile(r"(?P<file>.+\.py):(?P<function>[^:]*)")


def read_source(source: str, folder: Path) -> pl.DataFrame:
    """The table that `data.source` of a boucle.yaml in `folder` names.

    `table.csv` is UTF-8 with a header line, and an empty cell is a missing value; `table.parquet`; or
    `file.py:function`, a function without arguments that returns a polars DataFrame. InvalidInput names file, row,
    column and value of what is wrong.
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
        table = _read_csv(path, source)
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


def _read_csv(path: Path, source: str) -> pl.DataFrame:
    _require_utf8(path, source)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InvalidInput(
            f"{source}, line 1: column `{twice[0]}` stands there {header.count(twice[0])} times; once is allowed",
            hint=f"rename one of them in the first line of {path}",
        )
    try:
        return pl.read_csv(path, infer_schema_length=None, raise_if_empty=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InvalidInput(
            f"{source} is no valid CSV table: {_first_line(error)}", hint=f"correct {path}, then run: boucle check"
        ) from error


def _require_utf8(path: Path, source: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while True:
            piece = file.read(1 << 20)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                # error.object starts with what the decoder still held of the piece before; that holds no newline.
                line += error.object.count(b"\n", 0, error.start)
                raise InvalidInput(
                    f"{source}, line {line}: byte 0x{error.object[error.start]:02x} is no UTF-8; only UTF-8 is allowed",
                    hint=f"convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > utf8.csv",
                ) from error
            if not piece:
                return
            line += piece.count(b"\n")


def _read_parquet(path: Path, source: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InvalidInput(
            f"{source} is no valid Parquet file: {_first_line(error)}",
            hint=f"write {path} again, then run: boucle check",
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
