"""Where a new project's table comes from, and the files that `boucle init` writes."""

import filecmp
import json
import re
from pathlib import Path

from msgspec import Struct

from boucle.data.api import sniff_csv
from boucle.data.records import CsvFormat
from boucle.data.written_times import WrittenTime
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.paths import rewrite
from boucle.project.folder import NAME
from boucle.project.records import beyond_defaults

_TABLES = (".csv", ".parquet")
_LIKE_CSV = (".tsv", ".tab", ".txt", ".data", ".dat")
"""Read as CSV after a copy under the name that boucle.yaml asks for."""
_COMMON = {"table", "data", "dataset", "train", "training", "source", "project"}
_IGNORED = ".boucle/\n"
_LOADER = '''\
"""The rows of a table{what}."""

from pathlib import Path

import polars as pl
{more}
TABLE = Path(__file__).parent / {file}


def load() -> pl.DataFrame:
    table = {read}
'''


class Place(Struct, frozen=True, kw_only=True):
    """A table, and where it is or will be in the project's folder."""

    folder: Path
    source: str
    """As `data.source` says it."""
    table: Path
    """The file as it was given."""
    csv: CsvFormat | None = None
    """None if the file is written in the plain way."""
    copied: bool = False
    """It is not in the folder yet."""


def refuse_existing(folder: Path, *, force: bool) -> None:
    """Conflict if the folder is a project already."""
    if (folder / NAME).exists() and not force:
        raise Conflict(
            f"{folder / NAME} exists already",
            hint="boucle init --force (keeps the old one as boucle.yaml.bak), or boucle check to go on with it",
        )


def find_table(asked: str | None, folder: Path) -> str:
    """The table that was given, or the only one in the folder."""
    if asked is not None:
        return asked
    found = sorted(
        path.name for path in (folder.iterdir() if folder.is_dir() else ()) if path.suffix.lower() in _TABLES
    )
    if len(found) == 1:
        return str(folder / found[0])
    if not found:
        raise NotFound(
            f"there is no .csv or .parquet file in {folder}", hint="name the table: boucle init path/to/table.csv"
        )
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    raise InvalidInput(
        f"{folder} has {len(found)} tables: {shown}; one is needed", hint=f"name it: boucle init {found[0]}"
    )


def place_of(given: str, folder: Path) -> Place:
    """What a table's name on the command line means for a project in `folder`."""
    file, colon, function = given.rpartition(":")
    python = bool(colon) and file.endswith(".py")
    path = Path(file if python else given).absolute()
    if not path.is_file():
        what = "is a folder; a file is needed" if path.is_dir() else "does not exist"
        raise NotFound(f"{path} {what}", hint="name the table: boucle init path/to/table.csv")
    resolved, root = path.resolve(), folder.resolve()
    within = root in resolved.parents
    if python:
        if not within:
            raise InvalidInput(
                f"{path} is not below the project's folder {folder}; a Python source may need its neighbours",
                hint=f"move it there, or make its folder the project's: boucle --project {path.parent} init {given}",
            )
        return Place(folder=folder, source=f"{resolved.relative_to(root).as_posix()}:{function}", table=path)
    suffix = path.suffix.lower()
    if suffix not in (*_TABLES, *_LIKE_CSV):
        raise InvalidInput(
            f"{path.name} is of an unknown kind; allowed are .csv, .tsv, .txt, .parquet and file.py:function",
            hint="write it as .csv, or load it with a function: boucle init source.py:load",
        )
    stem = "table" if path.name.startswith("~") else path.stem  # `~` would mean somebody's home
    name = stem + (".csv" if suffix in _LIKE_CSV else suffix)
    kept = within and path.suffix in _TABLES and not resolved.relative_to(root).as_posix().startswith("~")
    source = resolved.relative_to(root).as_posix() if kept else name
    csv = None
    if suffix != ".parquet":
        csv = sniff_csv(path)
    if not kept and (folder / name).exists() and not filecmp.cmp(path, folder / name, shallow=False):
        raise Conflict(
            f"{path} would be copied to {folder / name}, which holds something else",
            hint=f"name that one instead, or rename it: boucle init {folder / name}",
        )
    return Place(folder=folder, source=source, table=path, csv=None if csv == CsvFormat() else csv, copied=not kept)


def name_of(place: Place) -> str:
    """A name for the project: that of the table, or of the folder if the table's says nothing.

    >>> name_of(Place(folder=Path("/tmp/My Shop"), source="data.csv", table=Path("data.csv")))
    'my-shop'
    """
    for word in (Path(place.source.partition(":")[0]).stem, place.folder.name):
        name = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:63].strip("-")
        if name and name[0].isalpha() and name not in _COMMON:
            return name
    return "project"


def loader(place: Place, *, target: str | None, time: WrittenTime | None) -> str:
    """The text of a Python source that leaves out the rows without a target, and reads their time."""
    more = ""
    if place.source.endswith(".parquet"):
        read = "pl.read_parquet(TABLE, glob=False)"
    else:
        csv = place.csv or CsvFormat()
        said = [f"{name}={json.dumps(value)}" for name, value in beyond_defaults(csv).items()]
        read = f"read_csv(TABLE, CsvFormat({', '.join(said)}))"
        more = "\nfrom boucle import CsvFormat, read_csv\n"
    what = (" that have a target" if target else "") + (f", with the time read from {time.form}" if time else "")
    text = _LOADER.format(what=what, more=more, file=json.dumps(place.source), read=read)
    if time:
        text += f"    table = table.with_columns({time.expression})\n"
    kept = f"table.filter(pl.col({json.dumps(target)}).is_not_null())" if target else "table"
    return text + f"    return {kept}\n"


def free_name(folder: Path, text: str) -> str:
    """The first of source.py, source2.py, ... that is not there or says the same."""
    number = 1
    while True:
        path = folder / f"source{number if number > 1 else ''}.py"
        if not path.exists() or path.read_bytes() == text.encode():
            return path.name
        number += 1


def write(place: Place, files: dict[str, str]) -> list[str]:
    """Write the files, boucle.yaml last, so that a folder is a project or it is not; returns what was done, in words.

    What stood there under the same name and said something else is kept as NAME.bak.
    """
    told = []
    if place.copied and not (place.folder / place.source).exists():
        rewrite(place.folder / place.source, place.table.read_bytes(), like=place.table)
        told.append(f"{place.source} (a copy of {place.table.resolve()})")
    for name, text in sorted(files.items(), key=lambda one: one[0] == NAME):
        path = place.folder / name
        kept = _keep(path, text.encode())
        rewrite(path, text.encode())
        told.append(name + (f" (the old one is {kept})" if kept else ""))
    ignore = place.folder / ".gitignore"
    lines = ignore.read_text(encoding="utf-8") if ignore.is_file() else ""
    if not any(line.strip().strip("/") == ".boucle" for line in lines.splitlines()):
        rewrite(ignore, (lines + ("\n" if lines and not lines.endswith("\n") else "") + _IGNORED).encode())
        told.append(".gitignore")
    return told


def _keep(path: Path, new: bytes) -> str | None:
    """Keep a file that is to be replaced, under a free name; None if there is nothing to keep."""
    if not path.is_file() or path.read_bytes() == new:
        return None
    kept = path.with_name(f"{path.name}.bak")
    number = 2
    while kept.exists():
        kept = path.with_name(f"{path.name}.bak{number}")
        number += 1
    rewrite(kept, path.read_bytes(), like=path)
    return kept.name
