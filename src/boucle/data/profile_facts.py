"""What a profile tells of each column, in words and figures for people and programs."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from boucle.data import histogram
from boucle.data.described import Correlation, correlations, distinct_values, moments
from boucle.data.number_profile import histogram_of
from boucle.data.profile_file import ProfiledTable
from boucle.data.profiles import quantiles, rank_error
from boucle.data.records import CategoryProfile, NumericProfile
from boucle.data.table_file import Shape

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOP: Final = 10
BARS: Final = 24

_FAR: Final = 3.0
_ENDS: Final = (0.005, 0.995)

Value = float | str | bool


class TopValue(Struct, frozen=True, kw_only=True):
    """A frequent value."""

    value: str
    rows: int
    """At most `ColumnFacts.top_error` too low."""


class Bar(Struct, frozen=True, kw_only=True):
    """A part of a column's range with its share of the values."""

    low: Value
    high: Value
    share: float


class ColumnFacts(Struct, frozen=True, kw_only=True):
    """One column; what does not apply to its type is None or empty."""

    column: str
    type: Shape
    rows: int
    missing: int
    distinct: int | None
    distinct_is_exact: bool
    minimum: Value | None = None
    maximum: Value | None = None
    mean: Value | None = None
    deviation: float | None = None
    """In seconds for times."""
    skewness: float | None = None
    kurtosis: float | None = None
    quantiles: dict[str, Value] = field(default_factory=dict)
    rank_error: float | None = None
    """The most that a quantile's rank may be off, as a share of the values."""
    top: list[TopValue] = field(default_factory=list)
    """The most frequent values of a text or a boolean, most frequent first."""
    top_error: int = 0
    lengths: tuple[float, float, float] | None = None
    """Of texts in characters: the shortest, the mean, the longest."""
    bars: list[Bar] = field(default_factory=list)
    """Of numbers and times: parts of equal width; a far tail (beyond 0.5 % at an end) has none."""


class TableFacts(Struct, frozen=True, kw_only=True):
    """A profiled table."""

    source: str
    rows: int
    columns: list[ColumnFacts]
    left_out: list[str]
    """Columns of lists, structs, bytes or durations, which have no profile."""
    correlations: list[Correlation]
    """Of pairs of numeric columns, strongest first; those of constants are last."""


def facts(table: ProfiledTable) -> TableFacts:
    """What the profile tells."""
    known: dict[str, NumericProfile | CategoryProfile] = {one.name: one for one in table.profile.numeric}
    known |= {one.name: one for one in table.profile.categories}
    pairs = sorted(correlations(table.profile), key=lambda one: -1.0 if one.value is None else abs(one.value))
    return TableFacts(
        source=table.source,
        rows=table.profile.rows,
        columns=[_facts(known[name], shape) for name, shape in table.columns.items() if name in known],
        left_out=[name for name in table.columns if name not in known],
        correlations=pairs[::-1],
    )


def _facts(summary: NumericProfile | CategoryProfile, shape: Shape) -> ColumnFacts:
    found = distinct_values(summary)
    distinct, exact = (None, False) if found is None else found
    general = ColumnFacts(
        column=summary.name,
        type=shape,
        rows=summary.rows,
        missing=summary.nulls,
        distinct=distinct,
        distinct_is_exact=exact,
    )
    if isinstance(summary, CategoryProfile):
        counts = summary.values if summary.heavy is None else summary.heavy
        lengths = None
        if (kept := summary.lengths) is not None and kept.minimum is not None and kept.maximum is not None:
            lengths = (kept.minimum, kept.total / (kept.rows - kept.nulls), kept.maximum)
        return replace(
            general,
            top=[] if summary.hashed and summary.heavy is None else _top(counts),
            top_error=summary.heavy_error,
            lengths=lengths,
        )
    if shape == "boolean":
        names = {0.0: "false", 1.0: "true"}
        kept_counts = histogram_of(summary)
        values = histogram.value_at(kept_counts.prefixes).tolist()
        return replace(
            general,
            mean=moments(summary).mean,
            top=_top({names[value]: n for value, n in zip(values, kept_counts.counts.tolist(), strict=True)}),
        )
    if summary.minimum is None or summary.maximum is None:
        return general
    measured = moments(summary)
    told = _moment if shape == "time" else _same
    return replace(
        general,
        minimum=told(summary.minimum),
        maximum=told(summary.maximum),
        mean=None if measured.mean is None else told(measured.mean),
        deviation=measured.deviation,
        skewness=measured.skewness,
        kurtosis=measured.kurtosis,
        quantiles={f"{q:g}": told(x) for q, x in zip(QUANTILES, quantiles(summary, QUANTILES), strict=True)},
        rank_error=rank_error(summary),
        bars=[Bar(low=told(low), high=told(high), share=share) for low, high, share in _bars(summary)],
    )


def _top(counts: dict[str, int]) -> list[TopValue]:
    ordered = sorted(counts, key=lambda value: (-counts[value], value))[:TOP]
    return [TopValue(value=value, rows=counts[value]) for value in ordered]


def _bars(summary: NumericProfile) -> list[tuple[float, float, float]]:
    """Ends and shares of parts of equal width."""
    assert summary.minimum is not None
    assert summary.maximum is not None
    low, high = quantiles(summary, _ENDS)
    if high == low or summary.maximum / 2 - summary.minimum / 2 <= _FAR * (high / 2 - low / 2):
        low, high = summary.minimum, summary.maximum
    if high == low:
        return [(low, high, 1.0)]
    kept = histogram_of(summary)
    edges = np.linspace(low, high, BARS + 1) if np.isfinite(high - low) else np.array([low, 0.0, high])
    values = histogram.value_at(kept.prefixes) if kept.bits == 64 else np.empty(0)
    if len(values) and high - low < 2.0**31 and (values == np.floor(values)).all():
        width = math.ceil((high - low + 1) / BARS)  # so that no part has more whole numbers than its neighbours
        edges = np.arange(low, high + width + 1, width) - 0.5
    first = kept.prefixes << np.int64(64 - kept.bits)
    ends = np.clip(
        histogram.value_at(np.array([first, first | np.int64((1 << (64 - kept.bits)) - 1)])),
        summary.minimum,
        summary.maximum,
    )
    if kept.bits == 64:
        counts = np.histogram(values, edges, weights=kept.counts)[0]
    else:  # as if the values of a bucket were spread evenly over it
        running = np.concatenate([[0], np.cumsum(kept.counts)])
        counts = np.diff(np.interp(edges, np.append(ends[0], ends[1, -1]), running))
    shares = counts / kept.counts.sum()
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), shares.tolist(), strict=True))


def _same(value: float) -> Value:
    return value


def _moment(seconds: float) -> Value:
    """Epoch seconds as ISO 8601, without a time where it is midnight; as they are beyond the years 1 to 9999.

    >>> _moment(86400.0), _moment(1.5)
    ('1970-01-02', '1970-01-01T00:00:01.500000Z')
    """
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return seconds
    if not seconds % 86400:
        return at.date().isoformat()
    return at.isoformat().replace("+00:00", "Z")
