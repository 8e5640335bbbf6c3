"""Proves that an exported network answers as the network does, and finds out which numbers both answer."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.bundle import labels_of
from boucle.packaging.networks.rows import LADDER, Rows, families
from boucle.packaging.parity import Answer, compare, judged, scale_of
from boucle.packaging.probes import SINGLE_MAX
from boucle.packaging.records import Parity, Signature

Scores = Callable[[Rows], NDArray[np.float64]]
"""Rows as numbers (n_rows, n_values) to scores, as `boucle.packaging.bundle.Scores`."""
TOGETHER: Final = 256
"""Rows that a network is asked with at once; fewer where a row is large."""
_DRAWN: Final = 16


class Pair(Struct, frozen=True, kw_only=True):
    """A network and what was exported of it."""

    original: Scores
    compiled: Scores
    signature: Signature
    tolerance: float
    title: str

    def answer(self, scores: NDArray[np.float64]) -> Answer:
        """Scores with the labels that they choose."""
        return Answer(scores, labels_of(self.signature, scores))

    def apart(self, rows: Rows, scale: float) -> float:
        """How far the two are apart; infinite where the network itself has no finite answer."""
        expected = in_parts(self.original, rows)
        if not np.isfinite(expected).all():
            return float("inf")
        found = compare(
            "", self.answer(expected), self.answer(self.compiled(rows)), self.signature, scale, self.tolerance
        )
        return float("inf") if found.stray else found.largest


def in_parts(ask: Scores, rows: Rows) -> NDArray[np.float64]:
    """What a network answers, asked with not too many rows at once."""
    many = max(1, min(TOGETHER, (1 << 22) // max(1, rows.shape[1])))
    with np.errstate(all="ignore"):
        return np.concatenate([ask(rows[start : start + many]) for start in range(0, len(rows), many)])


def limits_of(pair: Pair, held_out: Rows, *, apart: bool) -> Rows:
    """For each value how far from zero it may be, so that the two answer alike and with finite numbers.

    `apart` says that each value has a limit of its own; else all have one. As far as the held-out rows go is not asked
    here.
    """
    width = held_out.shape[1]
    largest = np.abs(held_out).max(axis=0) if apart else np.full(width, np.abs(held_out).max())
    largest = np.maximum(largest, 1.0)
    scale = scale_of(pair.signature, in_parts(pair.original, held_out[:64]))
    if apart:
        return np.array([_limit(pair, held_out[:4], scale, [at], float(largest[at])) for at in range(width)])
    draw = np.random.default_rng(1)
    chosen = np.unique(draw.choice(width, min(width, _DRAWN), replace=False)).tolist()
    return np.full(width, _limit(pair, held_out[:4], scale, chosen, float(largest[0]), whole=True))


def _limit(
    pair: Pair, base: Rows, scale: float, columns: Sequence[int], largest: float, *, whole: bool = False
) -> float:
    found = largest
    for step in sorted({*(largest * many for many in LADDER[:4]), *(step for step in LADDER[4:] if step > largest)}):
        if step > SINGLE_MAX and pair.tolerance > 1e-9:
            break
        rows = []
        for sign in (step, -step):
            for at in columns:
                rows.append(base.copy())
                rows[-1][:, at] = sign
            if whole:
                rows.append(np.full_like(base, sign))
        if pair.apart(np.concatenate(rows), scale) > pair.tolerance:
            break
        found = step
    return found


def nullable_of(pair: Pair, held_out: Rows, *, apart: bool) -> NDArray[np.bool_]:
    """For each value whether the two answer alike, and with finite numbers, where it is missing.

    Frameworks differ in what they make of NaN in a comparison, as in a maximum.
    """
    width = held_out.shape[1]
    draw = np.random.default_rng(2)
    columns = np.arange(width) if apart else np.unique(draw.choice(width, min(width, _DRAWN), replace=False))
    rows = np.repeat(held_out[:1], len(columns), axis=0)
    rows[np.arange(len(columns)), columns] = np.nan
    try:
        scores = in_parts(pair.original, rows)
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        return np.zeros(width, dtype=bool)
    scale = scale_of(pair.signature, in_parts(pair.original, held_out[:64]))
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(scores).reshape(len(rows), -1).all(axis=1))
    if finite.all() and pair.apart(rows, scale) <= pair.tolerance:
        return np.ones(width, dtype=bool)
    if not apart:
        return np.zeros(width, dtype=bool)
    alike = [bool(fine) and pair.apart(rows[[at]], scale) <= pair.tolerance for at, fine in enumerate(finite.tolist())]
    return np.array(alike)


def prove_network(
    pair: Pair, held_out: Rows, names: Sequence[str], limits: Rows, nullable: NDArray[np.bool_], compiler: str
) -> Parity:
    """Compare on every family. Refused past the tolerance, and where a row's answer depends on the rows beside it."""
    made = families(held_out, names, limits, nullable=nullable)
    expected = in_parts(pair.original, np.concatenate([one.rows for one in made]))
    scale = scale_of(pair.signature, expected[: len(held_out)])
    ends = np.cumsum([len(one.rows) for one in made])
    found = []
    for one, end in zip(made, ends.tolist(), strict=True):
        scores = expected[end - len(one.rows) : end]
        if not np.isfinite(scores).all():
            raise InvalidInput(
                f"{pair.title} has no finite answer to {one.name}, where it must have one",
                hint="pass a sample without missing values, of rows that the model answers",
            )
        if one.size == 1:
            _refuse_neighbours(pair, one.rows, scores, scale)
        size = one.size or len(one.rows)
        parts = [pair.compiled(one.rows[start : start + size]) for start in range(0, len(one.rows), size)]
        found.append(
            compare(
                one.name,
                pair.answer(scores),
                pair.answer(np.concatenate(parts)),
                pair.signature,
                scale,
                pair.tolerance,
            )
        )
    nothing = pair.compiled(held_out[:0])
    found.append(
        compare("zero rows", pair.answer(expected[:0]), pair.answer(nothing), pair.signature, scale, pair.tolerance)
    )
    return judged(found, len(held_out), compiler, pair.tolerance)


def _refuse_neighbours(pair: Pair, rows: Rows, together: NDArray[np.float64], scale: float) -> None:
    alone = np.concatenate([pair.original(row[None]) for row in rows])
    found = compare("", pair.answer(together), pair.answer(alone), pair.signature, scale, pair.tolerance)
    if found.largest > pair.tolerance:
        raise Refused(
            f"{pair.title} answers a row otherwise alone than among others, by {found.largest:.3g} where "
            f"{pair.tolerance:g} is allowed; a server answers requests together",
            hint="take out what is random, or is computed over the rows of a batch, when the model predicts",
        )
