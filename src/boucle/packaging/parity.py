"""Proves that a compiled model answers as the fitted one does, on held-out rows and on rows made to part them.

Converters fail silently: half the labels flip, and no error is raised. Each family of `boucle.packaging.probes` has
caught, or would catch, a real one: rounded thresholds, missing values sent the other way, categories renumbered,
encoders that disagree.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, inf, log10

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.probes import BASE_ROWS, SINGLE_MAX, Family, families, with_value
from boucle.packaging.records import Input, Parity, Signature

Values = NDArray[np.float64]
NOISE = 1e-15


class Answer(Struct, frozen=True):
    """What a model says to a table: scores shaped as `boucle.packaging.bundle.Scores`; labels, none of a regression."""

    scores: Values
    labels: Sequence[str]


Ask = Callable[[pl.DataFrame], Answer]
"""A model asked with a raw table. Where it refuses the rows it raises; the compiled one raises InvalidInput."""


class Difference(Struct, frozen=True):
    """How far two models are apart on one family."""

    family: str
    rows: int
    largest: float
    flips: int
    stray: int
    """Flips of rows that lie further from the border between labels than two equal models may be apart."""


def prove(
    original: Ask,
    compiled: Ask,
    signature: Signature,
    held_out: pl.DataFrame,
    known: pl.DataFrame | None = None,
    *,
    thresholds: Mapping[str, NDArray[np.float64]] | None = None,
    sentinels: Sequence[float | str] = (),
    compiler: str,
    tolerance: float,
) -> Parity:
    """Compare on every family; Refused past the tolerance, with the worst family and its numbers.

    `known` are rows like those of training (without them, the held-out ones); `thresholds` are the raw columns'
    values at which the model is known to decide; `sentinels` those that it takes for missing beside NaN. Rows that the
    signature does not allow are left out.
    """
    rows = list(families(signature, held_out, held_out if known is None else known, thresholds or {}, sentinels))
    rows = [_allowed(one, signature) for one in rows]
    if held_out.height and not rows[0].rows.height:
        raise Refused(
            f"none of the sample's {held_out.height} rows is one that the model answers, so nothing can be proven",
            hint="pass rows without missing values, and with categories that the model knows",
        )
    rows = [one for one in rows if one.rows.height or one.name == "zero rows"]
    answers = _asked(original, rows, "fitted"), _asked(compiled, rows, "compiled")
    expected = answers[0][0].scores
    _refuse_infinite(expected, rows[0], held_out)
    scale = scale_of(signature, expected)
    found = [
        compare(one.name, first, second, signature, scale, tolerance)
        for one, first, second in zip(rows, *answers, strict=True)
    ]
    return judged(found, sum(one.rows.height for one in rows if one.held_out), compiler, tolerance)


def narrowed(
    original: Ask, compiled: Ask, signature: Signature, held_out: pl.DataFrame, tolerance: float
) -> list[Input]:
    """The inputs, each with the largest limit up to which the two models are equal on rows made from held-out ones."""
    base = held_out.head(BASE_ROWS)
    scale = scale_of(signature, original(base).scores)
    return [
        one if one.kind == "category" else _narrowed(one, original, compiled, signature, base, scale, tolerance)
        for one in signature.inputs
    ]


def _narrowed(
    one: Input, original: Ask, compiled: Ask, signature: Signature, base: pl.DataFrame, scale: float, tolerance: float
) -> Input:
    largest = max(abs(one.minimum or 0.0), abs(one.maximum or 0.0), 1.0)
    found = 0.0
    steps = [*(largest * 10.0**power for power in (1, 2, 3, 4, 6, 9)), *(step for step in MAGNITUDES if step > largest)]
    for step in sorted(steps):
        signed = [value for value in (step, -step) if one.low <= value <= one.high]
        if not signed:
            break
        rows = pl.concat([with_value(base, one, value) for value in signed])
        apart = compare("", original(rows), compiled(rows), signature, scale, tolerance)
        if apart.largest > tolerance or apart.stray:
            break
        found = step
    return replace(one, limit=found if found else one.limit)


MAGNITUDES = (2.0**24, 2.0**53, 1e15, 1e30, 1e37, SINGLE_MAX, 1e200, 1e300)


def judged(found: Sequence[Difference], held_out: int, compiler: str, tolerance: float) -> Parity:
    """The proof; Refused past the tolerance, or where a label flips that is not at its border."""
    parity = Parity(
        compiler=compiler,
        tolerance=tolerance,
        held_out_rows=held_out,
        generated_rows=sum(one.rows for one in found) - held_out,
        largest_difference=max(rounded_up(one.largest) for one in found),
        label_flips=sum(one.flips for one in found),
        worst=max(found, key=lambda one: rounded_up(one.largest)).family,
    )
    worst = max(found, key=lambda one: (one.largest, one.stray))
    if worst.largest <= tolerance and not any(one.stray for one in found):
        return parity
    if worst.largest <= tolerance:
        worst = max(found, key=lambda one: one.stray)
    raise Refused(
        f"the model compiled by {compiler} is not the fitted one: on {worst.rows} rows of {worst.family} it is off "
        f"by {worst.largest:.3g} where {tolerance:g} is allowed, and {parity.label_flips} labels flip in "
        f"{parity.held_out_rows + parity.generated_rows} rows",
        hint="nothing was written; a difference this small may be allowed by packaging.tolerance"
        if worst.largest < 1e-6 and not worst.stray
        else "nothing was written; this compiler cannot be trusted with this model",
        details={"worst": worst.family, "largest_difference": worst.largest, "label_flips": parity.label_flips},
    )


def _asked(ask: Ask, rows: Sequence[Family], which: str) -> list[Answer]:
    # once for all that need not be asked alone: a call costs a fitted model more than the rows of most families
    together = [one for one in rows if not one.alone]
    try:
        whole = ask(pl.concat([one.rows for one in together], how="vertical_relaxed"))
        ends = np.cumsum([one.rows.height for one in together])
        parts = {
            id(one): Answer(whole.scores[end - one.rows.height : end], whole.labels[end - one.rows.height : end])
            for one, end in zip(together, ends, strict=True)
        }
        return [parts[id(one)] if id(one) in parts else ask(one.rows) for one in rows]
    except Exception as error:
        # whatever a framework raises is its refusal, of rows that clients would be told to send
        raise Refused(
            f"the {which} model refuses rows that the signature allows: {_said(error)}",
            hint="nothing was written; with keep_code=True the model is served as it is",
        ) from error


def _said(error: Exception) -> str:
    return error.message if isinstance(error, InvalidInput) else (str(error) or repr(error)).splitlines()[0][:300]


def _refuse_infinite(expected: Values, family: Family, held_out: pl.DataFrame) -> None:
    """Refused where the fitted model itself has no finite answer to a row of the sample."""
    fine = np.isfinite(expected).reshape(len(expected), -1).all(axis=1)
    if fine.all():
        return
    shown = family.rows[int(np.argmin(fine))].to_dicts()[0]
    raise Refused(
        f"the model answers {(~fine).sum()} of the sample's {held_out.height} rows with no finite number; the first is "
        f"{str(shown)[:300]}",
        hint="leave such rows out of the sample",
    )


def _allowed(family: Family, signature: Signature) -> Family:
    """Without rows that the signature tells clients not to send."""
    kept = pl.lit(True)
    for one in signature.inputs:
        if not one.nullable:
            kept &= pl.col(one.name).is_not_null() & (pl.col(one.name).is_not_nan() if one.kind == "number" else True)
        if one.kind == "number" and (one.low > -inf or one.high < inf):
            kept &= (pl.col(one.name).is_between(one.low, one.high) | pl.col(one.name).is_nan()).fill_null(True)
        if one.closed:
            kept &= pl.col(one.name).is_in(one.categories) | pl.col(one.name).is_null()
    return Family(family.name, family.rows.filter(kept), family.held_out, family.alone)


def scale_of(signature: Signature, expected: Values) -> float:
    """What a difference is a share of: 1 for probabilities, else the largest value."""
    if signature.task != "regression" and not signature.margins:
        return 1.0
    finite = expected[np.isfinite(expected)]
    return float(np.abs(finite).max(initial=0.0)) or 1.0


def compare(
    family: str, expected: Answer, answered: Answer, signature: Signature, scale: float, tolerance: float
) -> Difference:
    """Two answers to one family, in units of `scale` or of the value itself where that is larger.

    Another shape, or NaN on one side, differs without bound.
    """
    first, second = expected.scores, answered.scores
    rows = len(first)
    if first.shape != second.shape or len(expected.labels) != len(answered.labels):
        return Difference(family, rows, float("inf"), rows, rows)
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.maximum(scale, np.where(np.isfinite(first), np.abs(first), 0.0))
        apart = np.abs(first - second) / units
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    flipped = np.array([one != other for one, other in zip(expected.labels, answered.labels, strict=True)], dtype=bool)
    stray = int(np.sum(flipped & (_from_border(first, signature) > tolerance * scale))) if flipped.any() else 0
    return Difference(family, rows, float(apart.max(initial=0.0)), int(flipped.sum()), stray)


def _from_border(scores: Values, signature: Signature) -> Values:
    if scores.ndim == 1:
        return np.asarray(np.abs(scores - signature.threshold), dtype=np.float64)
    ordered = np.sort(scores, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2], dtype=np.float64)


def rounded_up(difference: float) -> float:
    """To a power of ten, at least 1e-15: the last bits of a processor's arithmetic are not part of a proof.

    >>> rounded_up(0.0), rounded_up(2.3e-12), rounded_up(1e-9)
    (1e-15, 1e-11, 1e-09)
    """
    if difference <= NOISE or not np.isfinite(difference):
        return max(difference, NOISE)
    return float(f"1e{ceil(round(log10(difference), 9))}")
