"""The nouns of predicting a table: what is read piece by piece, and what came of it."""

from pathlib import Path

from msgspec import Struct

from boucle.data.lines import LineEnd
from boucle.data.records import CsvFormat, FileKind
from boucle.kernel.digests import Digest


class Piece(Struct, frozen=True, kw_only=True):
    """A part of a file that is predicted at once: bytes `first` to `last` of a file of lines, else rows."""

    number: int
    """Counts the pieces of all files, from 0."""
    file: int
    first: int
    last: int
    """Not included."""


class TableFile(Struct, frozen=True, kw_only=True):
    """One file of the table."""

    path: Path
    name: str
    """Below the table's folder; the file's own name if the table is one file."""
    kind: FileKind
    csv: CsvFormat
    columns: list[str]
    """Of JSON lines, the members of the first one, and those that the model knows of all others."""
    hash: str
    """SHA-256 of its bytes."""
    state: tuple[int, int]
    """Its size in bytes and its time of change in nanoseconds when it was planned: by these a change shows."""
    line_end: LineEnd = "\n"
    """Of a CSV file."""


class Plan(Struct, frozen=True, kw_only=True):
    """All that is to be predicted. The same bytes, model and pieces give the same plan, and so the same result."""

    id: str
    """Begins every prediction id."""
    bundle_digest: Digest
    files: list[TableFile]
    pieces: list[Piece]
    is_folder: bool
    """Whether the result names the file of each row."""


class BadRow(Struct, frozen=True, kw_only=True):
    """A row that the signature does not allow."""

    file: str
    where: str
    """`line 7` in a file of lines, else `row 7`, counted from 1 without a header."""
    reason: str


class Part(Struct, frozen=True, kw_only=True):
    """What came of one piece."""

    rows: int
    left_out: int
    bad: list[BadRow]
    """The first of those that were left out; all of them are listed in a file of the piece."""


class BatchReport(Struct, frozen=True, kw_only=True):
    """What was predicted, and where it is."""

    out: str
    bad_rows: str | None
    """The rows that were left out, one JSON object a line; None if there are none."""
    rows: int
    left_out: int
    files: int
    number: int | None
    """The model version; None for a bundle that was named by its path."""
    bundle_digest: Digest
    batch: str
    kept_pieces: int
    """Pieces that an earlier run, which was stopped, had finished."""
    pieces: int
