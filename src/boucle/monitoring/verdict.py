"""Which columns drifted, with a stated rate of false alarms. Pure.

A column's p-value comes from two tests: Kolmogorov-Smirnov sees what moved a little everywhere, Pearson's test over
bins sees what moved much somewhere. Beside Pearson's stand Fisher's exact tests, of missing values and of values that
both together hardly have, which no bin of enough rows can hold. Of texts of many values it is the number of those that
the reference never had, beside Pearson's (`boucle.monitoring.unseen`). Holm's correction then holds the rate for the
table: at a rate of 0.01, of a thousand windows without drift at most ten have any column called drifted, however many
columns there are and however they depend on each other. What is beyond noise and still too small to matter is called
slight.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.records import Noise
from boucle.monitoring.compare import Distances
from boucle.monitoring.nulls import bins_p_value, ks_p_value, ks_shift, p_value, share_p_value, size_of, threshold
from boucle.monitoring.records import SERIOUS, DriftVerdict, Together

RATE: Final = 0.01
AT_LEAST: Final = 0.05

_EXACT: Final = 0.1
"""Of the chance that Pearson's test is wrong, what the exact ones beside it have: what they see is far beyond it."""
TELLING: Final = 0.5
"""Where even so large a share of moved rows would pass for noise, there are too few rows to tell."""

_MANY_WINDOWS: Final = 1_000_000

Verdict = DriftVerdict
_ORDER: Final[tuple[Verdict, ...]] = ("empty", "vanished", "type", "drift", "slight", "new", "few", "same")


class ColumnVerdict(Struct, frozen=True, kw_only=True):
    """What became of one column."""

    column: str
    verdict: Verdict
    distances: Distances
    p_value: float | None = None
    """How often a column without drift is as far away, or farther; None if it could not be compared."""
    adjusted: float | None = None
    """The same, corrected for the number of columns: drift from the rate downwards."""
    thresholds: dict[str, float] = {}
    """What each distance passes without drift at the stated rate, by itself."""
    weight: float = 1.0
    """What the column matters, 1 in the mean."""


class TableVerdict(Struct, frozen=True, kw_only=True):
    """What became of a table."""

    drifted: bool
    rate: float
    """Of tables without drift, the share in which a column is called drifted or slight."""
    at_least: float
    """Share of the rows that must have moved in a column for its drift to matter."""
    reference_rows: int
    window_rows: int
    columns: list[ColumnVerdict]
    """What matters most first."""
    together: Together | None = None
    """Whether columns go together as they did, where that was asked for."""


def judged(
    distances: Sequence[Distances],
    *,
    rate: float = RATE,
    at_least: float = AT_LEAST,
    noise: Mapping[str, Mapping[str, Noise]] | None = None,
    weights: Mapping[str, float] | None = None,
) -> TableVerdict:
    """The verdict on each column, what matters first.

    `noise`: of each column, what its distances are without drift (`boucle.monitoring.nulls.noise_of`); where it has
    `ks` and `chi_square`, from windows that the reference is made of (`window_noise`), a column must be farther than
    these, too. `weights`: importances of the features that have one, in any unit.
    """
    noise = noise or {}
    found = {one.column: _p_value(one, noise.get(one.column, {})) for one in distances if one.state == "compared"}
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    shares = _weights([one.column for one in distances], weights or {})
    columns = [
        ColumnVerdict(
            column=one.column,
            verdict=_verdict(one, adjusted.get(one.column), rate, at_least, len(found), noise.get(one.column, {})),
            distances=one,
            p_value=found.get(one.column),
            adjusted=adjusted.get(one.column),
            thresholds=_thresholds(one, noise.get(one.column, {}), rate),
            weight=shares[one.column],
        )
        for one in distances
    ]
    columns.sort(key=lambda one: (_ORDER.index(one.verdict), -one.weight * (one.distances.moved or 0.0)))
    return TableVerdict(
        drifted=any(one.verdict in SERIOUS for one in columns),
        rate=rate,
        at_least=at_least,
        reference_rows=max((one.reference_rows for one in distances), default=0),
        window_rows=max((one.window_rows for one in distances), default=0),
        columns=columns,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979).

    Not Benjamini and Hochberg's, which holds the share of false ones among those that are found: an alarm is of the
    table, and one false column is a false alarm. Holm's holds under any dependence of the columns.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    each = np.asarray(p_values, np.float64)
    order = np.argsort(each, kind="stable")
    corrected = np.empty(len(each))
    corrected[order] = np.minimum(np.maximum.accumulate(each[order] * np.arange(len(each), 0, -1)), 1.0)
    return corrected.tolist()


def window_noise(distances: Sequence[Sequence[Distances]]) -> dict[str, dict[str, Noise]]:
    """What Kolmogorov-Smirnov and chi-square are between a reference and the windows it is made of, by column.

    Days differ from each other more than samples of rows do. `distances`: of each window from the reference that holds
    it, at least two; a window should hold about as many rows as those that are judged by it.

    Where a window is the share w of the reference, it is (1 - w) times as far from the whole as from the others, and a
    new one is sqrt(1 - w ** 2) times as far from the whole as that: so squares are taken times (1 + w) / (1 - w). Of
    Kolmogorov-Smirnov's distance it is what `nulls.ks_shift` makes of it.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for window in distances:
        for one in window:
            share = one.window_rows / max(one.reference_rows, 1)
            if one.state != "compared" or share >= 1:
                continue
            wider = (1 + share) / (1 - share)
            size = size_of(one.reference_rows, one.window_rows)
            kept = found.setdefault(one.column, {})
            kept.setdefault("chi_square", []).append((size, wider * _chi_square_a_freedom(one)))
            kept.setdefault("missing", []).append((size, wider * size * _missing(one) ** 2))
            kept.setdefault("rare", []).append((size, wider * size * _rare(one) ** 2))
            if one.ks is not None:
                kept.setdefault("ks", []).append(
                    (size, (1 - share**2) * size * ks_shift(one.ks / (1 - share), size) ** 2)
                )
    return {
        column: {name: _noise(each) for name, each in kept.items() if len(each) > 1} for column, kept in found.items()
    }


def _noise(sized: Sequence[tuple[float, float]]) -> Noise:
    sizes, scaled = zip(*sized, strict=True)
    middle = max(1, round(float(np.median(sizes))))
    return Noise([middle], [float(np.mean(scaled))], [float(np.var(scaled, ddof=1))], len(sized))


def _chi_square_a_freedom(one: Distances) -> float:
    return (one.chi_square or 0.0) / max(one.freedom, 1)


def _p_value(one: Distances, noise: Mapping[str, Noise]) -> float:
    size = size_of(one.reference_rows, one.window_rows)
    if one.has_own_values:  # of such a column only missing values can be compared
        return _by_missing(one, noise)
    by_bins = _by_places(one, noise)
    if one.unseen_p_value is not None:
        by_values = one.unseen_p_value
        if "unseen" in noise:
            by_values = max(by_values, p_value(noise["unseen"], "unseen", one.unseen or 0.0, 1.0))
        return min(1.0, 2 * min(by_bins, by_values))
    if one.ks is None:
        return by_bins
    present = size_of(one.reference_rows - one.reference_nulls, one.window_rows - one.window_nulls)
    by_ranks = ks_p_value(one.ks, present)
    if "ks" in noise:
        by_ranks = max(by_ranks, p_value(noise["ks"], "ks", ks_shift(one.ks, size), size))
    return min(1.0, 2 * min(by_bins, by_ranks))


def _by_places(one: Distances, noise: Mapping[str, Noise]) -> float:
    """By Pearson's test, and by exact ones of what it does not see: rows in a place that both together hardly have."""
    exact = []
    if one.reference_nulls or one.window_nulls:
        exact.append(_by_missing(one, noise))
    if one.rare_reference or one.rare_window:
        exact.append(_by_rare(one, noise))
    if not one.freedom:
        return min([1.0, *(len(exact) * each for each in exact)])
    by_bins = bins_p_value(np.array(one.tested_reference), np.array(one.tested_window))
    if "chi_square" in noise:
        by_bins = max(by_bins, p_value(noise["chi_square"], "chi_square", _chi_square_a_freedom(one), 1.0))
    if not exact:
        return by_bins
    return min(1.0, by_bins / (1 - _EXACT), *(len(exact) * each / _EXACT for each in exact))


def _by_missing(one: Distances, noise: Mapping[str, Noise]) -> float:
    by_rows = share_p_value(one.reference_nulls, one.reference_rows, one.window_nulls, one.window_rows)
    return _beside_days(by_rows, one, noise, "missing", _missing(one))


def _by_rare(one: Distances, noise: Mapping[str, Noise]) -> float:
    rows = one.reference_rows - one.reference_nulls, one.window_rows - one.window_nulls
    by_rows = share_p_value(one.rare_reference, rows[0], one.rare_window, rows[1])
    return _beside_days(by_rows, one, noise, "rare", _rare(one))


def _beside_days(by_rows: float, one: Distances, noise: Mapping[str, Noise], name: str, apart: float) -> float:
    if name not in noise:
        return by_rows
    return max(by_rows, p_value(noise[name], name, apart, size_of(one.reference_rows, one.window_rows)))


def _missing(one: Distances) -> float:
    """How far the shares of missing rows are apart."""
    return abs(one.reference_nulls / one.reference_rows - one.window_nulls / one.window_rows)


def _rare(one: Distances) -> float:
    """How far the shares of rows with rare values are apart, of all rows."""
    return abs(one.rare_reference / one.reference_rows - one.rare_window / one.window_rows)


def _thresholds(one: Distances, noise: Mapping[str, Noise], rate: float) -> dict[str, float]:
    size = size_of(one.reference_rows, one.window_rows)
    return {
        name: threshold(noise[name], name, rate, size)
        for name in ("psi", "js", "hellinger", "wasserstein")
        if name in noise and one.state == "compared"
    }


def _verdict(
    one: Distances, adjusted: float | None, rate: float, at_least: float, columns: int, noise: Mapping[str, Noise]
) -> Verdict:
    if one.state != "compared":
        return one.state
    if adjusted is None or adjusted > rate:
        if one.has_own_values or not tells(one.reference_rows, one.window_rows, rate, columns):
            return "few"
        return "few" if _are_few_windows(one, noise, rate / (2 * columns)) else "same"
    return "drift" if (one.moved or 0.0) >= at_least else "slight"


def tells(reference: int, window: int, rate: float, columns: int = 1) -> bool:
    """Whether so many rows can tell a column of which half of the rows moved from one that is the same.

    >>> tells(10_000, 10, 0.01), tells(10_000, 11, 0.01), tells(10_000, 11, 0.01, columns=20)
    (False, True, False)
    """
    return 2 * ks_p_value(TELLING, size_of(reference, window)) * columns <= rate


def _are_few_windows(one: Distances, noise: Mapping[str, Noise], rate: float) -> bool:
    """Whether all rows moved would pass beside so few windows, and not beside many that differ as these do."""
    if not any(kept.windows for kept in noise.values()):
        return False
    size = size_of(one.reference_rows, one.window_rows)
    moved = {"ks": ks_shift(1.0, size)}
    if one.freedom:  # the least that Pearson's statistic is then, by Cauchy and Schwarz
        moved["chi_square"] = 4 * size / one.freedom
    chances = [
        [
            p_value(replace(kept, windows=windows), name, moved[name], 1.0 if name == "chi_square" else size)
            for windows in (kept.windows, _MANY_WINDOWS)
        ]
        for name, kept in noise.items()
        if name in moved and kept.windows
    ]
    return bool(chances) and min(few for few, _ in chances) > rate >= min(many for _, many in chances)


def _weights(columns: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    known = [max(weights[name], 0.0) for name in columns if name in weights]
    middle = sum(known) / len(known) if known else 0.0
    return {name: max(weights.get(name, middle), 0.0) / middle if middle else 1.0 for name in columns}
