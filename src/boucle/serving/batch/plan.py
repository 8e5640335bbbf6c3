"""From a table's path to the plan: which files, in which pieces, under which id."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from msgspec.structs import replace

from boucle.data.lines import PIECE_BYTES, Header, cut, header
from boucle.data.records import SUFFIXES, CsvFormat, FileKind
from boucle.data.scan import scan_file
from boucle.kernel.digests import Digest, digest_json
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.progress import Progress
from boucle.packaging.records import Signature
from boucle.serving.batch.members import check_members, members_of
from boucle.serving.batch.records import Piece, Plan, TableFile

PIECE_ROWS = 131_072
_RESULTS = 2
"""Of the result: another one makes another id, so that nothing of an older Boucle's is gone on with."""


def make_plan(
    table: Path,
    signature: Signature,
    bundle_digest: Digest,
    csv_format: CsvFormat,
    progress: Progress,
    *,
    piece_rows: int = PIECE_ROWS,
    piece_bytes: int = PIECE_BYTES,
) -> Plan:
    """The plan for a file, or for all files of a table in a folder and those below it, by name.

    Reads every file once. NotFound if there is nothing; InvalidInput for a file of an unknown kind, one that cannot be
    read, or one without a column that the model needs.
    """
    paths = table_files(table)
    total = sum(max(1, -(-path.stat().st_size // piece_bytes)) for path in paths)
    files: list[TableFile] = []
    pieces: list[Piece] = []
    with progress.task("read", total, even=True) as task:
        for path in paths:
            name = path.relative_to(table).as_posix() if table.is_dir() else path.name
            file, ranges = _look(path, name, signature, csv_format, piece_rows, piece_bytes, task.advance)
            _check_columns(file, signature)
            pieces += [
                Piece(number=len(pieces) + n, file=len(files), first=first, last=last)
                for n, (first, last) in enumerate(ranges)
            ]
            files.append(file)
    check_members([files[piece.file] for piece in pieces if not piece.first], signature)
    facts = [_RESULTS, bundle_digest, table.is_dir(), piece_rows, piece_bytes]
    named = [[one.name, one.hash, one.csv] for one in files] if table.is_dir() else [[files[0].hash, files[0].csv]]
    return Plan(
        id=f"batch-{digest_json([facts, named])[:20]}",
        bundle_digest=bundle_digest,
        files=files,
        pieces=pieces,
        is_folder=table.is_dir(),
    )


def table_files(table: Path) -> list[Path]:
    """The files of a table, in the order of their names; hidden ones and what is no table are left out of a folder."""
    allowed = ", ".join(SUFFIXES)
    if table.is_dir():
        found = [
            path
            for path in sorted(table.rglob("*"))
            if path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(table).parts)
        ]
        if not found:
            raise NotFound(f"folder {str(table)!r} has no table in it; allowed are files that end with {allowed}")
        return found
    if not table.is_file():
        raise NotFound(f"there is no table {str(table)!r}; a file or a folder of files is needed", hint="ls")
    if table.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"{table.name!r} is of an unknown kind; allowed are files that end with {allowed}")
    return [table]


def _look(
    path: Path,
    name: str,
    signature: Signature,
    csv_format: CsvFormat,
    piece_rows: int,
    piece_bytes: int,
    advance: Callable[[], None],
) -> tuple[TableFile, Sequence[tuple[int, int]]]:
    """A file and the ranges that its pieces have."""
    kind = SUFFIXES[path.suffix.lower()]
    if path.suffix.lower() == ".tsv":
        csv_format = replace(csv_format, separator="\t")
    first = Header([], 0, "\n")
    try:
        state = state_of(path)
        if kind == "csv":
            first = header(path, name, csv_format)
        elif kind == "jsonl":
            first = Header(members_of(path, known_to(signature)), 0, "\n")
        else:
            columns, rows = _columns_and_rows(path, name, kind)
            first = Header(columns, 0, "\n")
        if kind in ("csv", "jsonl"):
            ranges, found = cut(
                path,
                begin=first.ends,
                quotes=kind == "csv",
                line_end=first.line_end,
                piece_bytes=piece_bytes,
                told=advance,
            )
        else:
            ranges = [(first, min(first + piece_rows, rows)) for first in range(0, rows, piece_rows)]
            found = _hash(path, piece_bytes, advance)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}", hint=f"chmod u+r '{path}'") from error
    return TableFile(
        path=path,
        name=name,
        kind=kind,
        csv=csv_format,
        columns=first.names,
        hash=found,
        line_end=first.line_end,
        state=state,
    ), ranges


def state_of(path: Path) -> tuple[int, int]:
    """What of a file changes whenever its bytes do: not its inode, which some file systems make up anew."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _hash(path: Path, piece_bytes: int, advance: Callable[[], None]) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(piece_bytes):
            hashed.update(block)
            advance()
    return hashed.hexdigest()


def _columns_and_rows(path: Path, name: str, kind: FileKind) -> tuple[list[str], int]:
    try:
        lazy = scan_file(path, kind)
        return lazy.collect_schema().names(), int(lazy.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        what = {"parquet": "Parquet", "ipc": "Arrow"}[kind]
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InvalidInput(f"{name} is no valid {what} file: {said}", hint=f"write {path} again") from error


def known_to(signature: Signature) -> list[str]:
    """The columns that a signature knows: its inputs, and key and time where it has them."""
    return [one for one in (*(one.name for one in signature.inputs), signature.key, signature.time) if one is not None]


def _check_columns(file: TableFile, signature: Signature) -> None:
    """InvalidInput names the columns that the model needs and a file of columns lacks; others do not matter."""
    if file.kind == "jsonl":
        return
    missing = [one.name for one in signature.inputs if one.name not in file.columns]
    if missing:
        raise InvalidInput(
            f"{file.name} has no column {', '.join(map(repr, missing))}, which the model needs; it has "
            f"{', '.join(file.columns[:20])}{' ...' if len(file.columns) > 20 else ''}",
            hint="name the columns of the table as they were named in training",
        )
