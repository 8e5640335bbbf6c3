"""The nouns of data: a table's schema, its profile, the dataset version, checks and their findings."""

from datetime import datetime
from typing import Literal, get_args

from msgspec import Struct, field

from boucle.kernel.digests import Digest

ColumnKind = Literal["integer", "float", "boolean", "text", "timestamp"]
"""The five kinds of column. Polars integers, floats, Boolean, String/Categorical/Enum, Date/Datetime map onto them."""

Task = Literal["binary", "multiclass", "regression"]
"""What a model answers: one of two classes, one of more, or a number."""

OnFail = Literal["alert", "quarantine", "block"]
"""What a failing check does: raise an alert; also keep the window out of training data; also stop the command."""


class Column(Struct, frozen=True):
    """One column of a schema."""

    name: str
    kind: ColumnKind
    nullable: bool


class NumericProfile(Struct, frozen=True, kw_only=True, dict=True):
    """Mergeable summary of a numeric, boolean or timestamp (epoch seconds) column.

    `prefixes` and `counts` are a histogram over the leading `bits` bits of the order-preserving integer image of the
    float64 values, sorted by prefix; at most 2,048 buckets. See `boucle.data.histogram`. Values that are not finite
    count as nulls. What is None was not kept by the version that made the profile.
    """

    name: str
    rows: int
    nulls: int
    minimum: float | None
    maximum: float | None
    total: float
    total_squares: float
    bits: int
    prefixes: list[int]
    counts: list[int]
    total_rest: list[float] = field(default_factory=list)
    """What rounding left of the exact total: further floats to add, largest first, so that merging loses nothing."""
    total_squares_rest: list[float] = field(default_factory=list)
    cubes: list[float] | None = None
    """Floats, largest first, that add up exactly to the sum of the values' cubes; the sum of none is `[]`."""
    fourths: list[float] | None = None
    """The same of their fourth powers."""
    registers: str | None = None
    """Of a column with more than 2,048 distinct values: what their number is estimated from (`boucle.data.distinct`);
    None for one with fewer, whose histogram tells it."""


class CategoryProfile(Struct, frozen=True, kw_only=True):
    """Mergeable summary of a text column: its values with their counts, sorted by value.

    From 1,001 distinct values on it is `hashed`: the keys are then 1,024 buckets by digest, `#000` to `#3ff`, because
    the heaviest values alone can't be merged in any order. See `boucle.data.profiles`.
    """

    name: str
    rows: int
    nulls: int
    values: dict[str, int]
    hashed: bool = False
    registers: str | None = None
    """Of a hashed profile: what the number of distinct values is estimated from, see `NumericProfile.registers`."""
    heavy: dict[str, int] | None = None
    """Of a hashed profile in full: the heaviest values with counts that are at most `heavy_error` too low, sorted by
    value (`boucle.data.heavy`). The one part of a profile that may depend on the split of the rows."""
    heavy_error: int = 0
    """No value that is missing in `heavy` stands there more often than this."""
    lengths: NumericProfile | None = None
    """Of a profile in full: the lengths of the texts in characters."""
    sampled: str | None = None
    """Of a hashed profile: a sample of its values with their rows (`boucle.data.value_sample`), by which the share of
    values is told that another column never had; None where an earlier version made it."""


class SharedRows(Struct, frozen=True, kw_only=True):
    """Of two columns, sums over the rows where both have a value; floats that add up to each sum exactly."""

    rows: int
    first: list[float]
    second: list[float]
    first_squares: list[float]
    second_squares: list[float]


class Products(Struct, frozen=True, kw_only=True):
    """What correlations are computed from. Pairs come as (0, 1), (0, 2), ..., (1, 2), ... of `columns`."""

    columns: list[str]
    sums: list[list[float]]
    """Of each pair, floats that add up exactly to the sum of its products over rows where both have a value."""
    shared: list[SharedRows | None]
    """Of each pair; None where neither column lacks a value, so that both columns' own sums are those."""


class Noise(Struct, frozen=True):
    """What a distance is between samples of one column, by their size: mean and variance of the distance (where it is
    a root: its square) times the size, at each of `sizes`. See `boucle.monitoring.nulls`."""

    sizes: list[int]
    means: list[float]
    variances: list[float]
    windows: int = 0
    """Of how many windows of the column they are taken, at one size; 0: of so many samples that they are known."""


class Profile(Struct, frozen=True, kw_only=True):
    """Mergeable summary of a table; byte-identical for the same rows in any order and any split."""

    rows: int
    numeric: list[NumericProfile]
    categories: list[CategoryProfile]
    products: Products | None = None
    """Of a profile in full: of the first 50 numeric columns."""


class DatasetVersion(Struct, frozen=True, kw_only=True):
    """An immutable, content-addressed snapshot of a table."""

    digest: Digest
    """SHA-256 of the Parquet file; also its key in the blob store."""
    rows: int
    columns: list[Column]
    profile_digest: Digest
    """Key of the JSON-encoded `Profile` in the blob store."""
    first_at: datetime | None
    """Earliest event time, UTC; None where the project names no time column."""
    last_at: datetime | None


# --- the `data` section of boucle.yaml ---------------------------------------------------------------------------


class RangeCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="range", forbid_unknown_fields=True):
    """Every present value lies in [min, max]."""

    column: str
    min: float | None = None
    max: float | None = None
    at_most_failing: float = 0.0
    on_fail: OnFail = "alert"


class SetCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="set", forbid_unknown_fields=True):
    """Every present value is one of `values`."""

    column: str
    values: list[str]
    at_most_failing: float = 0.0
    on_fail: OnFail = "alert"


class NullRateCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="null_rate", forbid_unknown_fields=True):
    """At most this share of rows (0 to 1) has no value."""

    column: str
    at_most: float = 0.0
    on_fail: OnFail = "alert"


class UniqueCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="unique", forbid_unknown_fields=True):
    """No two rows share the same values in `columns`."""

    columns: list[str]
    on_fail: OnFail = "block"


class RelationCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="relation", forbid_unknown_fields=True):
    """A SQL expression over the row's columns that must hold; rows where it is null pass."""

    name: str
    expression: str
    columns: list[str]
    """The columns to name when it fails."""
    at_most_failing: float = 0.0
    on_fail: OnFail = "alert"


class FreshnessCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="freshness", forbid_unknown_fields=True):
    """The newest event time is at most this many days older than the moment of checking."""

    at_most_days: float
    on_fail: OnFail = "alert"


class LeakageCheck(Struct, frozen=True, kw_only=True, tag_field="check", tag="leakage", forbid_unknown_fields=True):
    """No feature predicts the target better than this, alone or by what it adds to the others: an AUC-ROC (classes)
    or an absolute rank correlation (numbers). See `boucle.data.leakage`."""

    at_most: float = 0.85
    on_fail: OnFail = "block"


Check = RangeCheck | SetCheck | NullRateCheck | UniqueCheck | RelationCheck | FreshnessCheck | LeakageCheck


class Features(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model's inputs: only what is known when the prediction is made."""

    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)


Separator = Literal[",", ";", "\t", "|", " "]
SEPARATORS: tuple[Separator, ...] = get_args(Separator)
Encoding = Literal[
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows-1252", "iso-8859-2", "iso-8859-15",
    "windows-1250", "windows-1251", "mac-roman", "shift_jis", "euc-jp", "euc-kr", "gb18030", "big5",
]  # fmt: skip


FileKind = Literal["csv", "jsonl", "parquet", "ipc"]
SUFFIXES: dict[str, FileKind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
"""The files that are read, by how their names end."""


class CsvFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a CSV file is written; the defaults are those of RFC 4180 in UTF-8."""

    separator: Separator = ","
    """What stands between two cells."""
    encoding: Encoding = "utf-8"
    """How its text is written as bytes; a byte order mark is read with any of the Unicode ones."""
    decimal: Literal[".", ","] = "."
    """What stands before the fraction of a number."""
    nulls: list[str] = field(default_factory=lambda: [""])
    """Cells that mean: no value. An empty cell always does."""


class DataSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the table comes from, what its columns mean, and what must hold."""

    source: str
    """A file beside boucle.yaml, `table.csv` or `table.parquet`; or `file.py:function`, a function without
    arguments that returns a polars DataFrame."""
    target: str
    """Column to predict."""
    features: Features
    csv: CsvFormat | None = None
    """How the file is written, where `source` is a CSV file that is not UTF-8 with commas."""
    key: str | None = None
    """Column that identifies a row, so that labels can join later."""
    time: str | None = None
    """Column with the event time: a timestamp with a zone, or UTC."""
    known_later: list[str] = field(default_factory=list)
    """Columns that are not known yet when the prediction is made; none of them may be a feature."""
    checks: list[Check] = field(default_factory=list)


# --- findings ----------------------------------------------------------------------------------------------------


class Finding(Struct, frozen=True, kw_only=True):
    """What one check found on one table."""

    check: str
    """`range`, `set`, ...; `schema` for the checks that always run (missing column, other type, all null, constant)."""
    name: str
    """Readable and unique among the project's checks, e.g. `range(temp)`."""
    columns: list[str]
    passed: bool
    failing: int
    """Rows that fail (for leakage: features that fail)."""
    rows: int
    message: str
    """What was found with its value, and what is allowed."""
    on_fail: OnFail
    samples: list[dict[str, str | int | float | bool | None]] = field(default_factory=list)
    """At most three failing rows, only the columns concerned; text cut at 120 characters."""
