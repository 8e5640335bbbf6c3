"""Proves that a compiled model answers as the fitted one does, on held-out rows and on rows made to part them.

Converters fail silently: half the labels flip, and no error is raised. Each family below has caught, or would catch, a
real one: rounded thresholds, missing values sent the other way, categories renumbered, encoders that disagree.
"""

from collections.abc import Callable, Iterator
from math import ceil, log10

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import Refused
from boucle.packaging.encode import Encoder
from boucle.packaging.records import Parity, Signature
from boucle.packaging.tables import columns_of
from boucle.training.api import encode_table, scores_of
from boucle.training.records import Fitted

Matrix = NDArray[np.float64]
Answer = Callable[[Matrix], Matrix]
"""Encoded rows to scores, shaped as `boucle.packaging.bundle.Scores`."""

NOISE = 1e-15
BASE_ROWS = 64
CATEGORY_ROWS = 1_000
THRESHOLD_ROWS = 20_000
UNSEEN = "\x00never seen in training"
EXTREMES = (1e300, -1e300, np.inf, -np.inf, 0.0, -0.0, 5e-324)


class Family(Struct, frozen=True):
    """Rows of one kind. `fitted` is what training's encoder makes of them, `served` what the bundle's makes."""

    name: str
    fitted: Matrix
    served: Matrix
    held_out: bool = False


class Difference(Struct, frozen=True):
    """How far two models are apart on one family."""

    family: str
    rows: int
    largest: float
    flips: int


def prove(
    fitted: Fitted, compiled: Answer, signature: Signature, held_out: pl.DataFrame, *, compiler: str, tolerance: float
) -> Parity:
    """Compare on every family; Refused past the tolerance, with the worst family and its numbers."""
    rows = list(families(fitted, signature, held_out))
    # the fitted model is asked once for all: a call costs it more than the rows of most families
    expected = scores_of(
        fitted.estimator, np.concatenate([one.fitted for one in rows]), fitted.task, len(fitted.classes)
    )
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0 if fitted.task == "regression" else 1.0
    ends = np.cumsum([len(one.fitted) for one in rows])
    found = [
        (one, compare(fitted, expected[end - len(one.fitted) : end], compiled(one.served), one.name, scale))
        for one, end in zip(rows, ends, strict=True)
    ]
    parity = Parity(
        compiler=compiler,
        tolerance=tolerance,
        held_out_rows=sum(one.rows for family, one in found if family.held_out),
        generated_rows=sum(one.rows for family, one in found if not family.held_out),
        largest_difference=max(rounded_up(one.largest) for _, one in found),
        label_flips=sum(one.flips for _, one in found),
        worst=max(found, key=lambda pair: rounded_up(pair[1].largest))[1].family,
    )
    if not max(one.largest for _, one in found) <= tolerance:
        worst = max((one for _, one in found), key=lambda one: one.largest)
        raise Refused(
            f"the model compiled by {compiler} is not the fitted one: on {worst.rows} rows of {worst.family} it is off "
            f"by {worst.largest:.3g} where {tolerance:g} is allowed, and {parity.label_flips} labels flip in "
            f"{parity.held_out_rows + parity.generated_rows} rows",
            hint="nothing was written; a difference this small may be allowed by packaging.tolerance"
            if worst.largest < 1e-6
            else "nothing was written; this compiler cannot be trusted with this model",
            details={"worst": worst.family, "largest_difference": worst.largest, "label_flips": parity.label_flips},
        )
    return parity


def compare(fitted: Fitted, expected: Matrix, answered: Matrix, family: str, scale: float) -> Difference:
    """Two answers to one family, in units of `scale`; another shape, or NaN on one side, differs without bound."""
    if answered.shape != expected.shape:
        return Difference(family, len(expected), float("inf"), len(expected))
    apart = np.abs(answered - expected) / scale
    apart = np.where(np.isnan(apart), np.inf, apart)
    flips = int(np.sum(_labels(fitted, expected) != _labels(fitted, answered)))
    return Difference(family, len(expected), float(apart.max(initial=0.0)), flips)


def rounded_up(difference: float) -> float:
    """To a power of ten, at least 1e-15: the last bits of a processor's arithmetic are not part of a proof.

    >>> rounded_up(0.0), rounded_up(2.3e-12), rounded_up(1e-9)
    (1e-15, 1e-11, 1e-09)
    """
    if difference <= NOISE or not np.isfinite(difference):
        return max(difference, NOISE)
    return float(f"1e{ceil(round(log10(difference), 9))}")


def families(fitted: Fitted, signature: Signature, held_out: pl.DataFrame) -> Iterator[Family]:
    """All rows to compare on, held-out ones first."""
    encoder = Encoder(signature.inputs)

    def raw(name: str, table: pl.DataFrame, *, held_out: bool = False) -> Family:
        served = encoder.encode(columns_of(table, signature))
        return Family(name, encode_table(table, fitted.encoding), served, held_out)

    yield raw("held-out rows", held_out, held_out=True)
    sample = held_out.head(BASE_ROWS)
    for name in fitted.encoding.categorical:
        yield raw(f"unseen({name})", sample.with_columns(pl.lit(UNSEEN).alias(name)))
        yield raw(f"missing({name})", sample.with_columns(pl.lit(None, dtype=pl.String).alias(name)))
    for name in fitted.encoding.numeric:
        yield raw(f"missing({name})", sample.with_columns(pl.lit(None, dtype=pl.Float64).alias(name)))
    yield raw("zero rows", held_out.clear())
    for name, rows in generated(fitted):
        yield Family(name, rows, rows)


def generated(fitted: Fitted) -> Iterator[tuple[str, Matrix]]:
    """Families of encoded rows, made from training rows by changing one column at a time."""
    encoding, rows = fitted.encoding, fitted.matrix
    base = rows[np.linspace(0, len(rows) - 1, min(BASE_ROWS, len(rows))).astype(np.int64)]
    yield "training rows", rows[:: max(1, len(rows) // 2000)]
    yield "nothing known", np.full((1, rows.shape[1]), np.nan)
    for position in range(min(8, len(base))):
        yield "one row", base[position : position + 1]
    for position, name in enumerate(encoding.categorical):
        codes = np.arange(len(encoding.categories[name]), dtype=np.float64)
        if len(codes):
            times = int(np.clip(CATEGORY_ROWS // len(codes), 4, BASE_ROWS))
            yield f"categories({name})", _changed(base, position, codes, times)
    thresholds = split_thresholds(fitted.estimator)
    times = int(np.clip(THRESHOLD_ROWS // (3 * max(1, sum(map(len, thresholds.values())))), 1, 8))
    for position, name in enumerate(encoding.numeric, start=len(encoding.categorical)):
        present = rows[:, position][~np.isnan(rows[:, position])]
        edges = [present.min(), present.max()] if len(present) else []
        yield f"extremes({name})", _changed(base, position, np.array([*EXTREMES, *edges]), times=4)
        cuts = thresholds.get(position)
        if cuts is not None:
            around = np.concatenate([cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)])
            yield f"thresholds({name})", _changed(base, position, around, times)


def split_thresholds(estimator: object) -> dict[int, NDArray[np.float64]]:
    """The finite thresholds at which the fitted trees split each numeric column of the matrix."""
    trees = [tree.nodes for round_ in estimator._predictors for tree in round_]  # type: ignore[attr-defined]
    nodes = np.concatenate(trees)
    splits = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0) & np.isfinite(nodes["num_threshold"])]
    return {
        int(position): np.unique(splits["num_threshold"][splits["feature_idx"] == position])
        for position in np.unique(splits["feature_idx"])
    }


def _changed(base: Matrix, position: int, values: NDArray[np.float64], times: int) -> Matrix:
    # each value `times` times, on different rows, so that different paths lead to the split
    rows = base[np.arange(len(values) * times) % len(base)]
    rows[:, position] = np.tile(values, times)
    return rows


def _labels(fitted: Fitted, scores: Matrix) -> NDArray[np.int64]:
    if fitted.task == "multiclass":
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)
    return (scores >= fitted.threshold).astype(np.int64) if fitted.task == "binary" else np.zeros(0, dtype=np.int64)
