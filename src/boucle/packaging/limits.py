"""Finds out which values a fitted model answers, column by column, so that a bundle refuses what the model refuses."""

from math import floor, inf, log10
from typing import Final

import numpy as np
import polars as pl
from msgspec import UNSET
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.parity import Ask
from boucle.packaging.probes import SINGLE_MAX, UNSEEN, with_value
from boucle.packaging.records import Input, Signature

LADDER: Final = (inf, float(np.finfo(np.float64).max), 1e300, 1e200, SINGLE_MAX, 1e37, 1e30, 1e15)
"""Magnitudes from which on a model may refuse a number: after a scaler, float32 ends elsewhere than at its largest."""
_PROBES: Final[dict[str, list[float | str | None]]] = {
    "number": [None, *LADDER, *(-step for step in LADDER)],
    "category": [None, UNSEEN],
}
_BASE_ROWS: Final = 8
_STEPS: Final = 48


def probed(original: Ask, inputs: list[Input], table: pl.DataFrame) -> list[Input]:
    """The inputs, with what the fitted model refuses: missing values, unseen categories, numbers too large for it.

    Refused where the model does not answer the first row of the sample, or a number that is in it.
    """
    row = table.head(1)
    try:
        original(row)
    except Exception as error:
        said = (str(error) or repr(error)).splitlines()[0]
        raise Refused(
            f"the model does not answer the first row of the sample: {said}",
            hint="pass rows as the model takes them",
        ) from error
    asked = [(one, probe) for one in inputs for probe in _PROBES[one.kind]]
    tried = pl.concat([row.clear(), *(with_value(row, one, value) for one, value in asked)])
    fine = _answered(original, tried).tolist()
    refused = {(one.name, value) for (one, value), is_fine in zip(asked, fine, strict=True) if not is_fine}
    found = [_strict(one, {value for name, value in refused if name == one.name}, original, table) for one in inputs]
    _refuse_outside(found, table)
    return found


def refuses_alike(compiled: Ask, signature: Signature, table: pl.DataFrame) -> None:
    """Refused if the compiled model answers a row that the fitted one does not."""
    row = table.head(1)
    for one in signature.inputs:
        for value in _PROBES[one.kind]:
            if isinstance(value, float):
                allowed = one.low <= value <= one.high
            else:
                allowed = one.nullable if value is None else not one.closed
            if allowed:
                continue
            try:
                compiled(with_value(row, one, value))
            except InvalidInput:
                continue
            raise Refused(
                f"the compiled model answers {value!r} in column {one.name!r}, which the fitted one refuses",
                hint="nothing was written; this compiler cannot be trusted with this model",
            )


def _answered(original: Ask, rows: pl.DataFrame) -> NDArray[np.bool_]:
    """Which rows of a table a model answers, with finite numbers; few questions where few are refused."""
    try:
        scores = original(rows).scores
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        half = rows.height // 2
        if not half:
            return np.zeros(rows.height, dtype=bool)
        return np.concatenate([_answered(original, rows[:half]), _answered(original, rows[half:])])
    return np.asarray(np.isfinite(scores).reshape(rows.height, -1).all(axis=1), dtype=bool)


def _strict(one: Input, refused: set[float | str | None], original: Ask, table: pl.DataFrame) -> Input:
    one = replace(one, nullable=None not in refused, closed=UNSEEN in refused)
    if one.kind == "category":
        return one
    above = next((step for step in LADDER if step not in refused), None)
    below = next((step for step in LADDER if -step not in refused), None)
    if above is not None and below is not None:
        both = next((step for step in LADDER if not {step, -step} & refused), min(above, below))
        return replace(one, limit=None if both == inf else both)
    # an exponential answers no large number, a logarithm none below zero: how far each side goes is looked for
    base = _base(table, original)
    low = -below if below is not None else _reach(one, -1.0, base, original)
    high = above if above is not None else _reach(one, 1.0, base, original)
    limit = max(-low, high)
    return replace(
        one,
        limit=None if limit == inf else limit,
        lowest=UNSET if low == -limit else low,
        highest=UNSET if high == limit else high,
    )


def _base(table: pl.DataFrame, original: Ask) -> pl.DataFrame:
    """Some rows of the sample that the model answers; the first one is among them in any case."""
    places = np.linspace(0, table.height - 1, min(_BASE_ROWS, table.height)).astype(np.int64).tolist()
    fine = _answered(original, table[places]).tolist()
    return table[[place for place, is_fine in zip(places, fine, strict=True) if is_fine or not place]]


def _reach(one: Input, side: float, base: pl.DataFrame, original: Ask) -> float:
    """The number furthest to one side up to which a model answers; three digits of it, and never inside the sample."""
    edge = (one.maximum if side > 0 else one.minimum) or 0.0
    if not np.isfinite(edge):
        return side * LADDER[-1]
    near, far = edge, side * LADDER[-1]
    middle = 0.0 if min(near, far) < 0.0 < max(near, far) else None
    for _ in range(_STEPS):
        if abs(far - near) < abs(near) / 2000:
            break
        # by digits: the next one may be ten times or a thousand times as far
        point = float(np.sinh((np.arcsinh(near) + np.arcsinh(far)) / 2)) if middle is None else middle
        middle = None
        if _is_answered(with_value(base, one, point), original):
            near = point
        else:
            far = point
    return side * max(_inwards(near, side) * side, edge * side)


def _is_answered(rows: pl.DataFrame, original: Ask) -> bool:
    try:
        return bool(np.isfinite(original(rows).scores).all())
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        return False


def _inwards(value: float, side: float) -> float:
    """Three digits of a number, on its inner side.

    >>> _inwards(1419.56, 1.0), _inwards(-0.99995, -1.0), _inwards(0.0, -1.0)
    (1410.0, -0.999, 0.0)
    """
    if not value:
        return 0.0
    unit = floor(log10(abs(value))) - 2
    digits = floor(value * side * 10.0**-unit) * side
    return float(f"{digits:.0f}e{unit}")


def _refuse_outside(inputs: list[Input], table: pl.DataFrame) -> None:
    for one in inputs:
        if one.kind == "category":
            continue
        values = table[one.name].fill_nan(None)
        outside = ((values < one.low) | (values > one.high)).fill_null(False)
        if outside.any():
            row = int(outside.arg_max() or 0)
            raise Refused(
                f"row {row} of the sample has {values[row]:g} in column {one.name!r}, which the model does not answer",
                hint="leave such rows out of the sample",
            )
